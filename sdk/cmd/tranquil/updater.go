package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/updater"
	"github.com/tranquil-iot/tranquil/sdk/updater/updatertest"
)

type updaterCmd struct {
	New  updaterNewCmd  `cmd:"" help:"Make a project for an updater, in Go."`
	Test updaterTestCmd `cmd:"" help:"Test an updater, in whatever language, with the conformance kit."`
}

type updaterNewCmd struct {
	SDK  string `placeholder:"DIR" type:"existingdir" help:"Build against this checkout of Tranquil (default: the release of this tool)."`
	Name string `arg:"" help:"Directory to make; its last part is the type of the components."`
}

// typeName is what an agent takes for a type of components.
var typeName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

func (c *updaterNewCmd) Run(s *session) error {
	name := filepath.Base(c.Name)
	if !typeName.MatchString(name) {
		return fmt.Errorf("%q is no type of components: a small letter and up to 31 small letters, digits and hyphens", name)
	}
	data := struct{ Name, Version, SDK string }{Name: name, Version: version}
	switch {
	case c.SDK != "":
		sdk, err := filepath.Abs(c.SDK)
		if err != nil {
			return fmt.Errorf("cannot find the checkout: %w", err)
		}
		data.Version, data.SDK = "v0.0.0", sdk
	case !release.MatchString(version):
		return fmt.Errorf("this tool is no release, but version %s: name a checkout of Tranquil with --sdk", version)
	}
	if err := os.MkdirAll(filepath.Dir(c.Name), 0o777); err != nil {
		return fmt.Errorf("cannot make the project: %w", err)
	}
	if err := os.Mkdir(c.Name, 0o777); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already", c.Name)
	} else if err != nil {
		return fmt.Errorf("cannot make the project: %w", err)
	}
	if err := copyTemplate(path.Join("templates", "updater"), c.Name, data); err != nil {
		return fmt.Errorf("cannot make the project: %w", err)
	}
	fmt.Fprintf(s.out, "%s is made. Build and test it with: make -C %s test\n", c.Name, shellWord(c.Name))
	if _, err := exec.LookPath("go"); err != nil {
		fmt.Fprintf(s.out, "To build it, install Go %s or newer (https://go.dev/dl).\n", goVersion())
	}
	return nil
}

// release is how the version of a release looks.
var release = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+$`)

// goVersion is the one that this tool was built with, which has what the SDK needs.
func goVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return strings.TrimPrefix(info.GoVersion, "go")
	}
	return "1.26"
}

type updaterTestCmd struct {
	Program   string        `arg:"" type:"existingfile" help:"Updater to test."`
	Artifact  string        `placeholder:"FILE" help:"Artifact of a version; {version} in its name is 1.0.0 and 2.0.0 (default: files \"version\" and \"run\", a program that runs until it is told to end)."`
	MediaType string        `placeholder:"TYPE" help:"What the artifact is (default: files of a package, tar+gzip)."`
	Settings  string        `placeholder:"FILE" type:"existingfile" help:"The manifest's settings, as JSON."`
	Running   string        `placeholder:"COMMAND" help:"Prints which version of the component in $1 runs, for the shell (default: the updater is believed)."`
	Boot      string        `placeholder:"COMMAND" help:"Boots the device, for updaters whose components are the device."`
	Ready     pack.Duration `default:"10s" help:"How long a component may take until it runs and is healthy."`
	Only      string        `placeholder:"REGEXP" help:"Check only the promises that match."`
	Verbose   bool          `short:"v" help:"Show each promise, and what the updater logs."`
}

// Run does not return if the kit could be asked: its verdict is the exit code.
func (c *updaterTestCmd) Run(s *session) error {
	program, err := filepath.Abs(c.Program)
	if err != nil {
		return fmt.Errorf("cannot find the updater: %w", err)
	}
	caps, err := capabilities(s.ctx, program)
	if err != nil {
		return err
	}
	if c.Running == "" && !caps.Status {
		return errors.New("the updater cannot tell the status of a component: say with --running how to see which version runs")
	}
	settings := []byte("{}")
	if c.Settings != "" {
		if settings, err = os.ReadFile(c.Settings); err != nil {
			return fmt.Errorf("cannot read settings: %w", err)
		}
	}
	suite := updatertest.Suite{
		Type: caps.Type, Program: program, Ready: time.Duration(c.Ready),
		Artifact: func(t testing.TB, version string) updatertest.Artifact { return c.artifact(t, version, settings) },
	}
	if c.Running != "" {
		suite.Running = func(t testing.TB, env updater.Environment, component string) string {
			return strings.TrimSpace(shell(t, env, c.Running, component))
		}
	}
	if c.Boot != "" {
		suite.Boot = func(t testing.TB, env updater.Environment) { shell(t, env, c.Boot, "") }
	}
	os.Args = []string{os.Args[0], fmt.Sprintf("-test.v=%t", c.Verbose), "-test.timeout=30m"}
	if c.Only != "" {
		os.Args = append(os.Args, "-test.run=//"+c.Only)
	}
	testing.Init()
	testing.Main(func(pattern, name string) (bool, error) { return regexp.MatchString(pattern, name) },
		[]testing.InternalTest{{Name: "Updater", F: func(t *testing.T) { updatertest.Run(t, suite) }}}, nil, nil)
	return nil
}

// capabilities asks an updater what it is and can do.
func capabilities(ctx context.Context, program string) (c updater.Capabilities, err error) {
	sum, err := updater.Checksum(program)
	if err != nil {
		return c, err
	}
	dir, err := os.MkdirTemp("", "updater")
	if err != nil {
		return c, fmt.Errorf("cannot make a directory for the updater: %w", err)
	}
	defer os.RemoveAll(dir)
	client, err := updater.Launch(ctx, updater.LaunchConfig{
		Path: program, SHA256: sum, Data: filepath.Join(dir, "data"), Run: filepath.Join(dir, "run"), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return c, err
	}
	defer client.Kill()
	return client.Capabilities(), nil
}

func (c *updaterTestCmd) artifact(t testing.TB, version string, settings []byte) updatertest.Artifact {
	if c.Artifact == "" {
		a := updatertest.Files(t, map[string]string{"version": version, "run": "#!/bin/sh\nexec sleep 1d\n"})
		a.Settings = settings
		return a
	}
	name := strings.ReplaceAll(c.Artifact, "{version}", version)
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("cannot read the artifact: %v", err)
	}
	copied := filepath.Join(t.TempDir(), filepath.Base(name)) // what a broken updater does to it is not to last
	if err := os.WriteFile(copied, data, 0o600); err != nil {
		t.Fatal(err)
	}
	a := updatertest.Artifact{Path: copied, MediaType: c.MediaType, Settings: settings}
	if a.MediaType == "" {
		a.MediaType = pack.MediaTypeArtifact
	}
	return a
}

// shell runs a command of the author and returns what it prints.
func shell(t testing.TB, env updater.Environment, command, component string) string {
	cmd := exec.Command("sh", "-c", command, "sh", component)
	cmd.Env = append(os.Environ(), "TRANQUIL_UPDATER_DATA="+env.Data, "TRANQUIL_UPDATER_RUN="+env.Run)
	var told, wrong bytes.Buffer
	cmd.Stdout, cmd.Stderr = &told, &wrong
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, wrong.Bytes())
	}
	return told.String()
}
