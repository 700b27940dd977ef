package schedule

import (
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	for _, good := range []string{"", "0 */6 * * *", "*/5 * * * * *", "@daily"} {
		if err := Check(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"never", "0 */6 * *", "99 * * * *", "* * * * * * * *"} {
		if Check(bad) == nil {
			t.Errorf("%q is a schedule", bad)
		}
	}
}

func TestNext(t *testing.T) {
	at := time.Date(2026, 11, 22, 8, 0, 4, 0, time.UTC)
	if next, ok := Next("0 */6 * * *", at); !ok || !next.Equal(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)) {
		t.Errorf("%v, %v", next, ok)
	}
	for _, none := range []string{"", "never"} {
		if _, ok := Next(none, at); ok {
			t.Errorf("%q has ticks", none)
		}
	}
}
