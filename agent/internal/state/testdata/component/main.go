// Command component serves until it is asked to end. What it serves is the
// directory of its state, which it opens and otherwise leaves alone.
package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/tranquil-iot/tranquil/sdk/component"
)

func main() {
	ask := make(chan os.Signal, 1)
	signal.Notify(ask, syscall.SIGTERM)
	if _, err := os.ReadDir(os.Getenv(component.EnvState)); err != nil {
		os.Exit(1)
	}
	if err := os.WriteFile("healthy", nil, 0o600); err != nil {
		os.Exit(1)
	}
	<-ask
}
