// Command reader is the smallest complete dependant: a program that needs
// another component of its device, and is told when that is updated.
//
// It prints every notice as a line of JSON. Started by Tranquil it does so
// into its state directory, else to standard output.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/component"
)

func main() {
	of := flag.String("of", "application/sensor-adapter", "`component` that it reads")
	name := flag.String("name", component.Name(), "`name` of this dependant")
	policy := flag.String("policy", "tell", "tell or defer")
	delay := flag.Duration("delay", 0, "how long to delay an update, with the policy defer")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := read(ctx, *of, *name, *policy, *delay); err != nil {
		fmt.Fprintln(os.Stderr, "reader:", err)
		os.Exit(1)
	}
}

func read(ctx context.Context, of, name, policy string, delay time.Duration) error {
	out, err := output()
	if err != nil {
		return err
	}
	defer out.Close()
	go component.Serve(ctx, component.Handler{}) // if Tranquil has started it
	return component.Depend(ctx, component.Dependence{
		Of: of, Name: name, Policy: policy,
		Asked: func(_ context.Context, n component.Notice) (time.Duration, string) {
			note(out, n)
			return delay, "a measurement is under way"
		},
		// A real reader ends here what needs the component, or goes on with
		// it: while it is away, its last readings are stale.
		Changed: func(_ context.Context, n component.Notice) { note(out, n) },
	})
}

func output() (io.WriteCloser, error) {
	dir := component.StateDir("")
	if dir == "" {
		return os.Stdout, nil
	}
	return os.OpenFile(filepath.Join(dir, "notices.jsonl"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
}

func note(out io.Writer, n component.Notice) {
	if err := json.NewEncoder(out).Encode(n); err != nil {
		fmt.Fprintln(os.Stderr, "reader:", err)
	}
}
