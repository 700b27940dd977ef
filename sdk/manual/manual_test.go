package manual

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var program = Program{
	Name: "boil-egg", Section: 8, Summary: "boils an egg", Synopsis: "COMMAND [-v]",
	Commands: []Command{
		{Forms: []string{"start [-o json]"}, Help: "begins to boil. 'Soft' is the default, \\ is not"},
		{Forms: []string{"egg list", "egg show EGG [--raw] | --all"}, Help: "which eggs there are, and how far each of them has come by now; an egg is shown in its shell"},
		{Forms: []string{"egg break soft|hard"}, Help: "one"},
	},
	Flags: []Entry{{"--pan FILE", "of the pan"}, {"-v", "say more"}},
	Text:  "Eggs are boiled in a pan.\n\n.It is hot.",
	Files: []Entry{{"/etc/pan", "the pan"}},
}

func TestUsage(t *testing.T) {
	want := `usage: boil-egg COMMAND [-v]

  start [-o json]    begins to boil. 'Soft' is the default, \ is not
  egg list
  egg show EGG [--raw] | --all
                     which eggs there are, and how far each of them has come by now; an egg is shown
                     in its shell
  egg break soft|hard
                     one

  --pan FILE         of the pan
  -v                 say more

Eggs are boiled in a pan.

.It is hot.
`
	if diff := cmp.Diff(want, program.Usage()); diff != "" {
		t.Error(diff)
	}
}

// man finds nothing to complain of, and shows what was written.
func TestPage(t *testing.T) {
	if _, err := exec.LookPath("man"); err != nil {
		t.Skip("NOT TESTED: man is missing (make deps)")
	}
	file := filepath.Join(t.TempDir(), "boil-egg.8")
	if err := os.WriteFile(file, []byte(program.Page("1.0")), 0o600); err != nil {
		t.Fatal(err)
	}
	man := exec.Command("man", "--warnings", "-l", file)
	man.Env = append(os.Environ(), "MANWIDTH=80", "LC_ALL=C.UTF-8", "MANPAGER=cat")
	var complaints strings.Builder
	man.Stderr = &complaints
	shown, err := man.Output()
	if err != nil || complaints.String() != "" {
		t.Fatalf("man: %v\n%s", err, &complaints)
	}
	for _, want := range []string{"boil-egg - boils an egg", "egg show EGG [--raw] | --all", `'Soft' is the default, \ is not`, ".It is hot.", "/etc/pan"} {
		if !strings.Contains(string(shown), want) {
			t.Errorf("%q is not in\n%s", want, shown)
		}
	}
}

// What bash completes is what the commands are.
func TestBash(t *testing.T) {
	text, err := program.Completion("bash")
	if err != nil {
		t.Fatal(err)
	}
	for typed, want := range map[string]string{
		"":                    "start egg",
		"s":                   "start",
		"egg ":                "list show break",
		"egg break ":          "soft hard",
		"egg -v sh":           "show",
		"egg show -":          "--pan -v --raw --all",
		"egg show x --r":      "--raw",
		"start -":             "--pan -v -o",
		"start x":             "",
		"egg break hard more": "",
	} {
		words := strings.Split("boil-egg "+typed, " ")
		script := text + "\nCOMP_WORDS=("
		for _, w := range words {
			script += " '" + w + "'"
		}
		script += "); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); _boil_egg; echo \"${COMPREPLY[@]}\""
		out, err := exec.Command("bash", "-c", script).CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%q: got %q, %v; want %q", typed, got, err, want)
		}
	}
}

// The other shells read theirs.
func TestShells(t *testing.T) {
	for _, shell := range Shells {
		text, err := program.Completion(shell)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := exec.LookPath(shell); err != nil {
			t.Logf("NOT TESTED: %s is missing (make deps)", shell)
			continue
		}
		file := filepath.Join(t.TempDir(), shell)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(shell, "-n", file).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
	}
	if _, err := program.Completion("cmd"); err == nil {
		t.Error("there are completions for cmd")
	}
}
