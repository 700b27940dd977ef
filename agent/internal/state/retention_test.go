package state

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sealed returns the generations that there are.
func sealed(t *testing.T, m *Manager, needs Needs) (all []Generation) {
	t.Helper()
	entries, err := m.List(component, needs)
	must(t, err)
	for _, e := range entries {
		all = append(all, e.Generation)
	}
	return all
}

// at has the clock of a manager show a time since boot.
func at(m *Manager, boot string, since time.Duration) {
	m.clock.boot = func() (string, time.Duration) { return boot, since }
}

// Generations 8 to 11 are sealed an hour apart; 12 is not sealed. Each of them
// has 7 bytes.
func TestRetention(t *testing.T) {
	for name, test := range map[string]struct {
		keep Retention
		need Needs
		want []Generation
	}{
		"number":                     {Retention{Keep: 2}, Needs{}, []Generation{10, 11}},
		"none":                       {Retention{}, Needs{}, nil},
		"none, but one is needed":    {Retention{}, Needs{Back: []Generation{9}}, []Generation{9}},
		"the needed one is extra":    {Retention{Keep: 2}, Needs{Back: []Generation{8}}, []Generation{8, 10, 11}},
		"age":                        {Retention{Keep: 9, For: 90 * time.Minute}, Needs{}, []Generation{10, 11}},
		"age, but one is needed":     {Retention{Keep: 9, For: 30 * time.Minute}, Needs{Back: []Generation{8}}, []Generation{8, 11}},
		"all are old":                {Retention{Keep: 9, For: time.Nanosecond}, Needs{Back: []Generation{11}}, []Generation{11}},
		"space":                      {Retention{Keep: 9, Space: 21}, Needs{}, []Generation{9, 10, 11}},
		"space, the needed one last": {Retention{Keep: 9, Space: 7}, Needs{Back: []Generation{8}}, []Generation{8}},
		"no space at all":            {Retention{Keep: 9, Space: 6}, Needs{Back: []Generation{8}}, nil},
		"held is extra":              {Retention{Keep: 1}, Needs{Held: []Generation{8}}, []Generation{8, 11}},
		"held, but old":              {Retention{Keep: 9, For: 90 * time.Minute}, Needs{Held: []Generation{8}}, []Generation{10, 11}},
		"space, held before the way": {Retention{Keep: 9, Space: 14}, Needs{Back: []Generation{8}, Held: []Generation{9}}, []Generation{8, 9}},
		"what is needed is not here": {Retention{Keep: 1}, Needs{Back: []Generation{3}}, []Generation{11}},
	} {
		t.Run(name, func(t *testing.T) {
			m := open(t)
			m.Retention = test.keep
			for i := range Generation(4) {
				at(m, "boot", time.Duration(i)*time.Hour)
				save(t, m, 8+i, "content") // 8 to 11: numbers, not strings, are sorted
			}
			_, err := m.Fresh(component, 12)
			must(t, err)
			at(m, "boot", 3*time.Hour+time.Minute)
			must(t, m.Prune(component, test.need))
			got := sealed(t, m, test.need)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if _, err := os.Stat(filepath.Join(m.root, component, "12")); err == nil {
				t.Error("what is not sealed is still there")
			}
			must(t, m.Prune(component, test.need))
			if diff := cmp.Diff(got, sealed(t, m, test.need)); diff != "" {
				t.Errorf("pruned again: %s", diff)
			}
		})
	}
}

// The wall clock of a device without a battery begins in 1970 and jumps, to
// the past or the future. None of that makes a state older.
func TestAgeIgnoresTheWallClock(t *testing.T) {
	m := open(t)
	m.Retention = Retention{Keep: 9, For: time.Hour}
	at(m, "one", time.Minute)
	for i, year := range []int{1970, 2026, 2126, 1} {
		dir, err := m.Fresh(component, Generation(i+1))
		must(t, err)
		put(t, filepath.Join(dir, "file"), "content")
		must(t, m.Seal(t.Context(), component, Generation(i+1), Meta{Schema: 1, Version: "1.0.0", Time: time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)}))
	}
	must(t, m.Prune(component, Needs{}))
	if got := sealed(t, m, Needs{}); len(got) != 4 {
		t.Errorf("kept %v", got)
	}
}

// The clock goes on over boots and over a new process; without its file all
// states are young again.
func TestClock(t *testing.T) {
	root := t.TempDir()
	open := func(boot string, since time.Duration) *Manager {
		m := manager(t, root, nil)
		m.Retention = Retention{Keep: 9, For: time.Hour}
		at(m, boot, since)
		return m
	}
	m := open("one", time.Minute)
	save(t, m, 1, "content")
	must(t, m.Prune(component, Needs{}))
	for _, step := range []struct {
		boot  string
		since time.Duration
		lost  bool
		kept  int
	}{
		{boot: "one", since: 30 * time.Minute, kept: 1},
		{boot: "two", since: 10 * time.Minute, kept: 1}, // 39 minutes
		{boot: "two", since: 5 * time.Minute, kept: 1},  // a clock that is wrong
		{boot: "three", since: time.Hour, lost: true, kept: 1},
		{boot: "three", since: 2*time.Hour + time.Second, kept: 0},
	} {
		if step.lost {
			must(t, os.WriteFile(filepath.Join(root, clockName), []byte("garbage"), 0o600))
		}
		m := open(step.boot, step.since)
		must(t, m.Prune(component, Needs{}))
		if got := sealed(t, m, Needs{}); len(got) != step.kept {
			t.Errorf("%+v: %v", step, got)
		}
	}
}

func TestListSaysWhy(t *testing.T) {
	m := open(t)
	m.Retention = Retention{Keep: 2}
	for gen := range Generation(3) {
		save(t, m, gen+1, "content")
	}
	entries, err := m.List(component, Needs{Back: []Generation{1}})
	must(t, err)
	var got []string
	for _, e := range entries {
		got = append(got, fmt.Sprintf("%d: %d files, %d bytes, %s%s", e.Generation, e.Files, e.Size, e.Why, e.Leaves))
	}
	want := []string{
		"1: 1 files, 7 bytes, the way back needs it",
		"2: 1 files, 7 bytes, it is among the last 2 (keep)",
		"3: 1 files, 7 bytes, it is among the last 2 (keep)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
