// Command demo shows the whole method at work, on real programs and real
// protocols: a component with state is updated, turned back, refused, cut off
// in the middle, and updated by schedule, and never loses a reading. It checks
// every claim that it makes and fails if one does not hold.
//
// Read scenes.go: it is the list of what happens.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	stay := flag.Bool("stay", false, "leave everything running at the end, until Ctrl-C")
	keep := flag.Bool("keep", false, "keep the directory with logs and state")
	verbose := flag.Bool("v", false, "show the agent's log")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *stay, *keep, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

// run plays all scenes in a temporary directory and cleans up.
func run(ctx context.Context, stay, keep, verbose bool) error {
	dir, err := os.MkdirTemp("", "tranquil-demo-")
	if err != nil {
		return err
	}
	d := &demo{dir: dir, verbose: verbose, console: newConsole(os.Stdout)}
	err = d.play(ctx, scenes)
	d.table.print(d.console)
	switch {
	case ctx.Err() != nil:
		err = errors.New("interrupted; everything is cleaned up")
	case err != nil:
		d.showLogs()
	case d.table.wrong() > 0:
		err = fmt.Errorf("%d of %d claims do not hold", d.table.wrong(), len(d.table.rows))
		d.showLogs()
	case stay:
		d.stay(ctx)
	}
	d.close()
	if keep {
		fmt.Println("Logs and state are in", dir)
		return err
	}
	if removing := os.RemoveAll(dir); err == nil {
		err = removing
	}
	return err
}
