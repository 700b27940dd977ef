package host

import (
	"bytes"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLogsOfManyRuns: however many files there are, and however often they are
// transformed, a module does not fill the log.
func TestLogsOfManyRuns(t *testing.T) {
	files := map[string]string{}
	for i := range 40 {
		files[fmt.Sprintf("%d.json", i)] = `{"count":1}`
	}
	in := write(t, files)
	var log bytes.Buffer
	const most = 300
	h := &Host{Cache: cache, Ceiling: Limits{Log: most}, Log: slog.New(slog.NewTextHandler(&log, nil))}
	for i := range 2 {
		if _, err := h.Run(t.Context(), []Step{counter(1, 2)}, in, filepath.Join(t.TempDir(), "out"), nil); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(log.String(), "log=\"transforming "); n == 0 || n*len("transforming 1.json") > most {
			t.Errorf("run %d: %d lines were logged", i, n)
		}
	}
	if n := strings.Count(log.String(), "left out"); n != 1 {
		t.Errorf("that more is left out is said %d times", n)
	}
}

func TestLogsAdmit(t *testing.T) {
	var l logs
	m, other := module{limits: Limits{Log: 100}}, module{sum: [32]byte{1}, limits: Limits{Log: 100}}
	begin := time.Now()
	for i, test := range []struct {
		module          module
		bytes           int64
		after           time.Duration
		admitted, first bool
	}{
		{m, 60, 0, true, false},
		{m, 40, 0, true, false},
		{m, 1, 0, false, true},
		{m, 1, time.Minute, false, false},
		{other, 300, time.Minute, true, false}, // one log is whole, whatever its unprintable bytes have become
		{other, 1, time.Minute, false, true},
		{m, 60, logEvery + time.Minute, true, false},
		{m, 60, logEvery + time.Minute, false, true},
		{m, 30, logEvery + time.Minute, false, false},
	} {
		admitted, first := l.admit(test.module, test.bytes, begin.Add(test.after))
		if admitted != test.admitted || first != test.first {
			t.Errorf("%d: admitted %v, for the first time %v", i, admitted, first)
		}
	}
	if len(l.wrote) != 2 {
		t.Errorf("%d modules are remembered", len(l.wrote))
	}
}
