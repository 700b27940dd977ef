package updater

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The test binary is also the updater that the tests launch, and the agent
// that dies.
func TestMain(m *testing.M) {
	switch os.Getenv("TEST_ROLE") {
	case "garbage":
		fmt.Println("hello, I am not an updater")
		select {}
	case "elsewhere":
		fmt.Println("1|1|unix|/tmp/elsewhere|grpc")
		select {}
	case "mute":
		select {}
	case "agent":
		agentMain()
	case "stateless":
		Main("application", func(env Environment) (Updater, error) { return stateless{&fake{env: env}}, nil })
	case "by hand":
		Main("application", openFake)
	}
	if Launched() {
		Main("application", openFake)
	}
	goleak.VerifyTestMain(m)
}

func openFake(env Environment) (Updater, error) {
	if os.Getenv("TEST_ROLE") == "cannot open" {
		return nil, errors.New("the database is corrupt")
	}
	env.Logger.Info("open", "data", env.Data, "link", env.Link)
	return &fake{env: env}, nil
}

// agentMain launches an updater and waits to be killed.
func agentMain() {
	_, err := Launch(context.Background(), LaunchConfig{
		Path: os.Args[0], SHA256: os.Getenv("TEST_SUM"),
		Data: os.Getenv("TEST_DATA"), Run: os.Getenv("TEST_RUN"),
	})
	fmt.Println("launched", err)
	select {}
}

// config returns what launches the test binary in a role.
func config(t *testing.T, role string) LaunchConfig {
	t.Helper()
	sum, err := Checksum(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	run, err := os.MkdirTemp("", "u") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	return LaunchConfig{
		Path: os.Args[0], SHA256: sum, Data: t.TempDir(), Run: run, Link: "/link",
		Env: []string{"TEST_ROLE=" + role}, Logger: slog.New(slog.DiscardHandler),
	}
}

func launchFake(t *testing.T) *Client {
	t.Helper()
	c, err := Launch(t.Context(), config(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Kill)
	return c
}

func connectFake(t *testing.T) *Client {
	t.Helper()
	c, err := Connect(t.Context(), "application", &fake{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Kill)
	return c
}

func TestRunByHand(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{"TEST_ROLE=by hand"}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Errorf("ended with %v, want exit code 2", err)
	}
	sum, _ := Checksum(os.Args[0])
	for _, want := range []string{"[[updater]]", `type = "application"`, sum} {
		if !strings.Contains(string(out), want) {
			t.Errorf("does not tell %s:\n%s", want, out)
		}
	}
}

func TestUpdaterDiesWithAgent(t *testing.T) {
	cfg := config(t, "")
	agent := exec.Command(os.Args[0])
	agent.Env = []string{"TEST_ROLE=agent", "TEST_SUM=" + cfg.SHA256, "TEST_DATA=" + cfg.Data, "TEST_RUN=" + cfg.Run}
	out, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 100)
	n, _ := out.Read(line)
	if got := string(bytes.TrimSpace(line[:n])); got != "launched <nil>" {
		t.Errorf("the agent says %q", got)
	}
	agent.Process.Kill()
	agent.Wait()
	// The next agent's updater gets the lock that only a dead updater leaves.
	c, err := Launch(t.Context(), cfg)
	if err != nil {
		t.Fatalf("updater of the next agent: %v", err)
	}
	c.Kill()
}

func TestUpdatersOnOneDirectoryTakeTurns(t *testing.T) {
	first, err := Launch(t.Context(), config(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Kill()
	dirs, _ := first.Status(t.Context(), StatusRequest{Component: "env"})
	cfg := config(t, "")
	cfg.Data = dirs.Version
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if c, err := Launch(ctx, cfg); err == nil {
		c.Kill()
		t.Fatal("two updaters work in one directory")
	}
	first.Kill()
	second, err := Launch(t.Context(), cfg)
	if err != nil {
		t.Fatalf("after the first was killed: %v", err)
	}
	second.Kill()
}
