package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/tranquil-iot/tranquil/sdk/settings"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

func TestStateConfig(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want stateConfig
		err  string
	}{
		"defaults": {"", stateConfig{Keep: 2, KeepFor: settings.Duration(720 * time.Hour)}, ""},
		"all":      {"[state]\nkeep = 5\nkeep_for = \"0s\"\nkeep_space = 1048576\nkeep_packages = true\n", stateConfig{Keep: 5, KeepSpace: 1 << 20, KeepPackages: true}, ""},
		"negative": {"[state]\nkeep = -1\n", stateConfig{}, "agent.toml, line 3: state: keep: cannot be negative"},
		"unknown":  {"[state]\nkeep_age = \"1h\"\n", stateConfig{}, "unknown key"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "agent.toml")
			if err := os.WriteFile(file, []byte("endpoint = \"d\"\n"+test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := readConfig(file)
			if test.err == "" && (err != nil || c.State != test.want) || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got %+v, %v", c.State, err)
			}
		})
	}
}

func TestTransformConfig(t *testing.T) {
	for text, want := range map[string]string{
		"memory = 16777216\ncpu = \"2s\"\noutput = 1000": "",
		"memory = 1000":        "agent.toml, line 3: transform: memory: 1000 bytes is not between 65536 (64 KiB) and 1073741824 (1 GiB)",
		"wall = \"-1s\"":       "line 3: transform: wall: -1s is not between 1ms and 24h",
		"wall = 5":             "line 3: transform wall: 5 is a whole number; it takes a duration in quotes, with its units",
		"stack = 1":            "line 3: transform: unknown key \"stack\": there are memory, output, log, cpu, wall, compile",
		"menory = 1":           "line 3: transform: unknown key \"menory\": did you mean \"memory\"?",
		"memory = 99999999999": "memory: 99999999999 bytes is not between",
	} {
		file := filepath.Join(t.TempDir(), "agent.toml")
		if err := os.WriteFile(file, []byte("endpoint = \"d\"\n[transform]\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := readConfig(file)
		if want == "" && (err != nil || c.Transform.limits() != host.Limits{Memory: 16 << 20, CPU: 2 * time.Second, Output: 1000}) ||
			want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %+v, %v", text, c.Transform, err)
		}
	}
}

func TestFilesConfig(t *testing.T) {
	for text, want := range map[string]string{
		"[files]\nurl = \"https://a\"\nalso = [\"coap://127.0.0.1\", \"https://b\"]":            "",
		"[files]\nurl = \"https://a\"\nalso = [\"http://b\"]":                                   "files: also: http://b is plaintext",
		"[files]\nurl = \"https://a\"\nalso = [\"http://b\"]\ninsecure = true":                  "",
		"[files]\nurl = \"coap://b\"":                                                           "files: url: coap://b is plaintext",
		"[[metered]]\ninterface = \"wwan0\"\nbudget = 1000\n[[metered]]\ninterface = \"wwan1\"": "",
		"[[metered]]\nbudget = 1000":                                                            "interface is its name",
		"[[metered]]\ninterface = \"wwan0\"\nbudget = -1":                                       "budget is in bytes",
		"[[metered]]\ninterface = \"wwan0\"\nbudget = 1000\nper = \"day\"":                      "unknown key",
	} {
		file := filepath.Join(t.TempDir(), "agent.toml")
		if err := os.WriteFile(file, []byte("endpoint = \"d\"\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readConfig(file)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// What could never do what it is written for is found when the agent starts.
func TestNamesInTheConfig(t *testing.T) {
	const updater = "[[updater]]\ntype = \"application\"\npath = \"/u\"\nsha256 = \"00\"\n"
	dependant := func(component, of, policy string) string {
		return "components = [\"application/a\", \"application/b\"]\n" + updater +
			"[[dependant]]\ncomponent = \"application/" + component + "\"\nof = \"application/" + of + "\"\npolicy = \"" + policy + "\"\n"
	}
	for text, want := range map[string]string{
		dependant("b", "a", "stop"):                                        "",
		dependant("program", "a", "tell"):                                  "",
		dependant("b", "other", "tell"):                                    "line 9: dependant 1: of: application/other is none of the components",
		dependant("other", "a", "stop"):                                    "line 8: dependant 1: component: application/other is none of the components, and nobody else can be stopped",
		"components = [\"application/a\", \"application/a\"]\n" + updater:  "line 2: components: application/a is listed twice",
		"[lwm2m]\nserver = \"coap://[::1]:5683\"":                          "",
		"[lwm2m]\nserver = \"coap+tcp://localhost\"":                       "",
		"[lwm2m]\nserver = \"coap://10.0.0.1\"":                            "line 3: lwm2m: server: coap://10.0.0.1 is plaintext beyond this machine",
		"[lwm2m]\nserver = \"coap://10.0.0.1\"\ninsecure = true":           "",
		"[lwm2m]\nalso = [\"coap://[::1]:5693\"]":                          "",
		"[lwm2m]\nalso = [\"coap://10.0.0.1\"]":                            "line 3: lwm2m: also: coap://10.0.0.1 is plaintext beyond this machine",
		"[lwm2m]\nalso = [\"coaps://a\"]":                                  "line 3: lwm2m: also: coaps://a has another scheme than server, which is coap://",
		"[lwm2m]\nbootstrap = \"coap://[::1]\"\nalso = [\"coap://[::1]\"]": "line 4: lwm2m: also: whoever the bootstrap server names is the only server",
	} {
		file := filepath.Join(t.TempDir(), "agent.toml")
		if err := os.WriteFile(file, []byte("endpoint = \"d\"\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readConfig(file)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// The configuration that is installed is the defaults, has every key, and what it
// has commented out can be used.
func TestInstalledConfig(t *testing.T) {
	text, err := os.ReadFile("dist/agent.toml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	read := func(name, text string) (c config, err error) {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte("endpoint = \"d\"\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		return readConfig(file)
	}
	want, err := read("none.toml", "")
	if err != nil {
		t.Fatal(err)
	}
	got, err := read("agent.toml", string(text))
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	setting := regexp.MustCompile(`(?m)^#(\[|[a-zA-Z0-9_]+ *=)`)
	whole := setting.ReplaceAllString(string(text), "$1")
	whole = strings.Replace(whole, "endpoint = \"mica-1\"\n", "", 1)
	whole = whole[:strings.Index(whole, "[[metered]]")]
	got, err = read("whole.toml", whole)
	got.Components, got.Ask, got.Reboot, got.Files.Also, got.LwM2M.Also = nil, nil, nil, nil, nil // empty, not missing
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for _, key := range keysOf(reflect.TypeFor[config]()) {
		if !regexp.MustCompile(`(?m)^(#?\[+|#)` + key + `( *=|\])`).Match(text) {
			t.Errorf("dist/agent.toml lacks %s", key)
		}
	}
	examples := "components = [\"application/reader\", \"application/sensor-adapter\"]\n" + setting.ReplaceAllString(string(text[strings.Index(string(text), "#[[metered]]"):]), "$1")
	examples = strings.NewReplacer(`path   = ""`, `path = "/u"`, `sha256 = ""`, `sha256 = "00"`, `maxDelay  = "0s"`, `#`).Replace(examples)
	if _, err := read("examples.toml", examples); err != nil {
		t.Error(err)
	}
}

// keysOf are the keys of a table, and of those in it.
func keysOf(t reflect.Type) (keys []string) {
	if t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	for field := range t.Fields() {
		if name := field.Tag.Get("toml"); name != "" {
			keys = append(append(keys, name), keysOf(field.Type)...)
		}
	}
	return keys
}

// What is in config.d wins.
func TestConfigDirectory(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"agent.toml":         "endpoint = \"a\"\nreserve = 1\n[lwm2m]\nlifetime = \"60s\"\n",
		"config.d/20.toml":   "endpoint = \"c\"\n",
		"config.d/10.toml":   "endpoint = \"b\"\n[lwm2m]\nserver = \"coap://127.0.0.1:1\"\n",
		"config.d/note.txt":  "no TOML",
		"config.d/20.toml~":  "endpoint = \"d\"\n",
		"elsewhere/two.toml": "endpoint = \"two\"\n",
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := readConfig(filepath.Join(dir, "agent.toml"))
	if err != nil || c.Endpoint != "c" || c.Reserve != 1 || c.LwM2M.Server != "coap://127.0.0.1:1" || c.LwM2M.Lifetime != settings.Duration(time.Minute) {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := readConfig(filepath.Join(dir, "elsewhere", "two.toml")); err != nil || c.Endpoint != "two" {
		t.Errorf("%+v, %v", c, err)
	}
	pipe := filepath.Join(dir, "config.d", "30.toml")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readConfig(filepath.Join(dir, "agent.toml")); err == nil || !strings.Contains(err.Error(), pipe+" is no regular file") {
		t.Error(err)
	}
	if err := os.Remove(pipe); err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(dir, "config.d", "20.toml")
	if err := os.WriteFile(wrong, []byte("\nreserve = -1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readConfig(filepath.Join(dir, "agent.toml")); fmt.Sprint(err) != wrong+", line 2: reserve: cannot be negative" {
		t.Error(err)
	}
}

// Updaters that came with the agent are found.
func TestUpdatersBeside(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const kind = "tested"
	if err := os.WriteFile(filepath.Join(filepath.Dir(program), updaterOf(kind)), nil, 0o700); err != nil {
		t.Fatal(err)
	}
	for text, test := range map[string]struct {
		want []updaterConfig
		err  string
	}{
		"components = [\"tested/a\", \"tested/b\"]":                   {[]updaterConfig{{Type: kind, Path: updaterOf(kind)}}, ""},
		"[[updater]]\ntype = \"tested\"\nfiles = 7":                   {[]updaterConfig{{Type: kind, Path: updaterOf(kind), Files: 7}}, ""},
		"components = [\"tested/a\"]\n[[updater]]\ntype = \"own\"":    {[]updaterConfig{{Type: "own", Path: updaterOf("own")}, {Type: kind, Path: updaterOf(kind)}}, ""},
		"[[updater]]\ntype = \"own\"\npath = \"/o\"\nsha256 = \"00\"": {[]updaterConfig{{Type: "own", Path: "/o", SHA256: "00"}}, ""},
		"[[updater]]\ntype = \"own\"\npath = \"/o\"":                  {nil, "sha256 is missing"},
		"components = [\"none/a\"]":                                   {nil, "none/a needs an [[updater]] with type = \"none\""},
		"components = [\"tranquil/agent\"]":                           {[]updaterConfig{{Type: "tranquil"}}, ""},
	} {
		file := filepath.Join(t.TempDir(), "agent.toml")
		if err := os.WriteFile(file, []byte("endpoint = \"d\"\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := readConfig(file)
		if test.err == "" && (err != nil || !slices.Equal(c.Updaters, test.want)) || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%s: got %+v, %v", text, c.Updaters, err)
		}
	}
}
