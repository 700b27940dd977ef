package container

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/tranquil-iot/tranquil/plugins/container/internal/cgroup"
)

// knock connects to a TCP port on the loopback of the container's own network,
// which nobody else needs to reach.
func knock(ctx context.Context, name string, port int) error {
	pids, err := cgroup.Processes(name)
	if err != nil {
		return err
	}
	if len(pids) == 0 {
		return errors.New("it has no process")
	}
	failed := make(chan error, 1)
	go func() { failed <- knockFrom(ctx, pids[0], port) }()
	return <-failed
}

// knockFrom connects as a process would. Its thread ends with it, since a
// goroutine that is locked does not give it back.
func knockFrom(ctx context.Context, pid, port int) error {
	runtime.LockOSThread()
	network, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return err
	}
	defer network.Close()
	if err := unix.Setns(int(network.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("cannot enter its network: %w", err)
	}
	// An address and no name: nothing is looked up, in which a thread would change.
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("nothing accepts on port %d: %w", port, err)
	}
	return connection.Close()
}
