package container

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBadSettings(t *testing.T) {
	for settings, want := range map[string]string{
		``:                                        "EOF",
		`[]`:                                      "cannot unmarshal",
		`{} {}`:                                   "something follows",
		`{"comand":["b"]}`:                        `unknown field "comand"`,
		`{"lxc.mount.entry":"/ host"}`:            "unknown field",
		`{"mounts":[{"Source":"/"}]}`:             "unknown field",
		`{"devices":["/dev/sda"]}`:                "unknown field",
		`{"command":[]}`:                          "command is empty",
		`{"command":["a\u0000"]}`:                 "zero byte",
		`{"engine":"docker"}`:                     "must be one of",
		`{"grace":"-1s"}`:                         "grace is negative",
		`{"dir":"etc"}`:                           "no clean absolute path",
		`{"dir":"/a/../b"}`:                       "no clean absolute path",
		`{"dir":"/a\nlxc.include = /etc"}`:        "control characters",
		`{"env":{"A":"b\nlxc.include=/x"}}`:       "control characters",
		`{"env":{"A=B":""}}`:                      "no valid variable",
		`{"env":{"TRANQUIL_STATE":"/"}}`:          "reserved",
		`{"halt":"SIGNONE"}`:                      "no signal",
		`{"halt":"SIGRTMIN+40"}`:                  "no signal",
		`{"health":{"http":"http://127.0.0.1/"}}`: "asks nobody but the container",
		`{"health":{"http":"/","port":1}}`:        "several kinds",
		`{"health":{"port":65536}}`:               "no port",
		`{"health":{"command":[]}}`:               "health.command is empty",
		`{"limits":{"memory":1}}`:                 "must be 4194304 or more",
		`{"limits":{"memory":-1}}`:                "must be 4194304 or more",
		`{"limits":{"cpu":0.001}}`:                "must be from",
		`{"limits":{"pids":-1}}`:                  "negative",
		`{"state":{"data":"/"}}`:                  "no clean absolute path",
		`{"state":{"data":"data"}}`:               "no clean absolute path",
		`{"state":{"data":"/a/../../etc"}}`:       "no clean absolute path",
		`{"state":{"data":"/a\t/b"}}`:             "control characters",
		`{"state":{"../data":"/a"}}`:              "no name",
		`{"state":{"a/b":"/a"}}`:                  "no name",
		`{"state":{".":"/a","b":"/b"}}`:           "all of it",
		`{"state":{"a":"/a","b":"/a/b"}}`:         "hide one another",
		`{"state":{"a":"/a","b":"/a"}}`:           "hide one another",
		`{"state":{"a":"/proc"}}`:                 "hide one another",
		`{"state":{"a":"/sys/fs"}}`:               "hide one another",
		`{"state":{"a":"/dev/x"}}`:                "hide one another",
		`{"state":{"a":"/tranquil/control"}}`:     "hide one another",
	} {
		err := Driver{}.Check([]byte(settings))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", settings, err, want)
		}
	}
}

// TestStricter: what an earlier updater has accepted is read by a stricter one.
func TestStricter(t *testing.T) {
	settings := []byte(`{"gone":true,"grace":"7s","halt":"SIGNONE"}`)
	if err := (Driver{}).Check(settings); err == nil {
		t.Error("it is accepted")
	}
	if traits, err := (Driver{}).Traits(settings); err != nil || traits.Grace != 7*time.Second {
		t.Errorf("%+v, %v", traits, err)
	}
}

// FuzzSettings: whatever is accepted is kept when it is written and read again.
func FuzzSettings(f *testing.F) {
	f.Add([]byte(`{"command":["/bin/a","-b"],"env":{"K":"V"},"state":{"data":"/var/lib/a","etc":"/etc/a"},"health":{"http":"/v1/health"},"grace":"5s","halt":"SIGRTMIN+3"}`))
	f.Add([]byte(`{"engine":"oci","user":"a:b","dir":"/","health":{"port":80},"limits":{"memory":67108864,"cpu":0.5,"pids":64},"unprivileged":true}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := parseSettings(data)
		if err != nil {
			return
		}
		written, err := json.Marshal(first)
		if err != nil {
			t.Fatal(err)
		}
		second, err := parseSettings(written)
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		again, err := json.Marshal(second)
		if d := cmp.Diff(string(written), string(again)); d != "" || err != nil {
			t.Error(d, err)
		}
	})
}

func TestSignals(t *testing.T) {
	for name, want := range map[string]int{
		"SIGTERM": 15, "TERM": 15, "term": 15, "15": 15, "SIGPWR": 30, "SIGRTMIN+3": 37, "RTMIN": 34, "SIGRTMAX-1": 63,
	} {
		if got, err := signalNumber(name); got != want || err != nil {
			t.Errorf("%s is %d, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "0", "-1", "65", "SIG", "SIGRTMIN-1", "SIGRTMAX-31", "SIGRTMIN+3x"} {
		if got, err := signalNumber(name); err == nil {
			t.Errorf("%q is %d", name, got)
		}
	}
}
