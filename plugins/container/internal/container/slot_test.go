package container

import (
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/plugins/internal/service"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// TestSlots: no two containers have the same users, whatever their names are, and
// each keeps its own.
func TestSlots(t *testing.T) {
	u, err := service.Open(Type, Driver{}, updater.Environment{Data: t.TempDir(), Run: "/run/x", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	home := func(name string) service.Home {
		t.Helper()
		h, err := u.Home(Type + "/" + name)
		if err == nil {
			err = os.MkdirAll(h.Dir, 0o700)
		}
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	get := func(h service.Home) int {
		t.Helper()
		n, err := slot(h)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	a, b := home("a"), home("b")
	if err := os.WriteFile(b.Path(slotFile), []byte(strconv.Itoa(preferred(name(a)))), 0o600); err != nil {
		t.Fatal(err)
	}
	n := get(a)
	if want := (preferred(name(a)) + 1) % idSlots; n != want || n == get(b) {
		t.Errorf("it has %d beside %d, want %d", n, get(b), want)
	}
	if err := os.RemoveAll(b.Dir); err != nil {
		t.Fatal(err)
	}
	if again := get(a); again != n {
		t.Errorf("it had %d and has %d", n, again)
	}
	if err := os.WriteFile(home("c").Path(slotFile), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := slot(home("d")); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("with a damaged one: %v", err)
	}
}
