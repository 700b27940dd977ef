package main

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"
)

//go:embed all:templates
var templates embed.FS

type transformNewCmd struct {
	Lang string `enum:"go,tinygo,rust,c,assemblyscript,zig" default:"go" help:"Language: ${enum}."`
	Name string `arg:"" help:"Directory to make; its last part is the name."`
}

// projectName is what every language takes for a name.
var projectName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// A language is one that new knows.
type language struct {
	Title  string
	Source string
	Needs  string // what to install, for people
	tool   []string
	output func(out string) bool // whether what the tool says means that all is there
}

var languages = map[string]language{
	"go":     {Title: "Go", Source: "main.go", Needs: "Go 1.22 or newer (https://go.dev/dl)", tool: []string{"go", "version"}},
	"tinygo": {Title: "TinyGo", Source: "main.go", Needs: "TinyGo 0.33 or newer (https://tinygo.org/getting-started/install)", tool: []string{"tinygo", "version"}},
	"c": {
		Title: "C", Source: "main.c", Needs: "clang with WASI (Debian: apt install clang lld wasi-libc libclang-rt-dev-wasm32)",
		tool: []string{"clang", "--target=wasm32-wasi", "-print-file-name=crt1-command.o"}, output: found,
	},
	"rust": {
		Title: "Rust", Source: "main.rs",
		Needs: "Rust with its library for WASI (rustup target add wasm32-wasip1; Debian: apt install rustc libstd-rust-dev-wasm32 lld)",
		tool:  []string{"sh", "-c", `ls "$(rustc --print sysroot)"/lib/rustlib/wasm32-wasi*/lib/libstd-*.rlib`},
	},
	"assemblyscript": {Title: "AssemblyScript", Source: "main.ts", Needs: "Node.js with npm, which fetches the compiler (Debian: apt install npm)", tool: []string{"npm", "--version"}},
	"zig":            {Title: "Zig", Source: "main.zig", Needs: "Zig 0.12 or newer (https://ziglang.org/download)", tool: []string{"zig", "version"}},
}

// found reports whether clang printed the path of a file and not its bare name.
func found(out string) bool { return filepath.IsAbs(strings.TrimSpace(out)) }

func (l language) installed(s *session) bool {
	out, err := exec.CommandContext(s.ctx, l.tool[0], l.tool[1:]...).Output()
	return err == nil && (l.output == nil || l.output(string(out)))
}

func (c *transformNewCmd) Run(s *session) error {
	l := languages[c.Lang]
	if name := filepath.Base(c.Name); !projectName.MatchString(name) {
		return fmt.Errorf("%q is no name for a project: use letters, digits, hyphens, dots and underscores, and begin with a letter or digit", name)
	}
	if err := os.MkdirAll(filepath.Dir(c.Name), 0o777); err != nil {
		return fmt.Errorf("cannot make the project: %w", err)
	}
	if err := os.Mkdir(c.Name, 0o777); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already", c.Name)
	} else if err != nil {
		return fmt.Errorf("cannot make the project: %w", err)
	}
	data := struct {
		language
		Name string
	}{l, filepath.Base(c.Name)}
	for _, dir := range []string{"every", c.Lang} {
		if err := copyTemplate(path.Join("templates", dir), c.Name, data); err != nil {
			return fmt.Errorf("cannot make the project: %w", err)
		}
	}
	fmt.Fprintf(s.out, "%s is made. Build and test it with: make -C %s test%s\n", c.Name, shellWord(c.Name), c.which())
	if !l.installed(s) {
		fmt.Fprintf(s.out, "To build it, install %s.\n", l.Needs)
	}
	return nil
}

// which tells make of this program, unless it finds it by itself.
func (transformNewCmd) which() string {
	program, err := os.Executable()
	if err != nil {
		return ""
	}
	if found, err := exec.LookPath("tranquil"); err == nil && sameFile(found, program) {
		return ""
	}
	return " TRANQUIL=" + shellWord(program)
}

func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// plainWord is what a shell takes as it is.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9._/+@:=-]+$`)

func shellWord(text string) string {
	if plainWord.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// copyTemplate fills in the files of a template and writes them. The suffix
// .tmpl only keeps the go command away from them.
func copyTemplate(from, to string, data any) error {
	return fs.WalkDir(templates, from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, filepath.FromSlash(strings.TrimSuffix(strings.TrimPrefix(name, from), ".tmpl")))
		if d.IsDir() {
			return os.MkdirAll(target, 0o777)
		}
		text, err := templates.ReadFile(name)
		if err != nil {
			return err
		}
		t, err := template.New(name).Parse(string(text))
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := t.Execute(&b, data); err != nil {
			return err
		}
		return os.WriteFile(target, b.Bytes(), 0o666)
	})
}
