package coap_test

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestReadme builds and runs the programs of the README as a stranger would.
func TestReadme(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var sources []string
	for _, part := range strings.Split(string(readme), "```go\n")[1:] {
		source, _, _ := strings.Cut(part, "```")
		sources = append(sources, source)
	}
	if len(sources) != 2 {
		t.Fatalf("the README has %d programs", len(sources))
	}
	free, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.LocalAddr().String()
	free.Close()
	start := func(name, source string) *bufio.Scanner {
		t.Helper()
		file, program := filepath.Join(t.TempDir(), name+".go"), filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(source, "127.0.0.1:5683", address)), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(deadline(t), "go", "build", "-o", program, file).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v %s", name, err, out)
		}
		command := exec.CommandContext(deadline(t), program)
		log, err := command.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = command.Process.Kill(); _ = command.Wait() })
		return bufio.NewScanner(log)
	}
	log := start("server", sources[1])
	start("device", sources[0])
	for _, want := range []string{"greenhouse has registered", "greenhouse measures 2", "greenhouse measures 2"} {
		if !log.Scan() || !strings.Contains(log.Text(), want) {
			t.Fatalf("the server says %q, want %q", log.Text(), want)
		}
	}
}
