// Command beat is a component that its users see every millisecond: it sends
// its version to the UDP address in the variable BEAT. Its state is for others
// to write.
package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/component"
)

func main() {
	if err := beat(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func beat() error {
	ask := make(chan os.Signal, 1)
	signal.Notify(ask, syscall.SIGTERM)
	if _, err := os.ReadDir(component.StateDir(".")); err != nil {
		return err
	}
	users, err := net.Dial("udp", os.Getenv("BEAT"))
	if err != nil {
		return err
	}
	if err := os.WriteFile("healthy", nil, 0o600); err != nil {
		return err
	}
	tick := time.NewTicker(time.Millisecond)
	for {
		users.Write([]byte(component.Version())) // who is not there misses it
		select {
		case <-ask:
			return nil
		case <-tick.C:
		}
	}
}
