package updater

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tranquil-iot/tranquil/sdk/updater/proto"
)

// Connect serves u in this process and returns a Client that talks with it
// over a real gRPC connection, as if it had a process of its own. Tests use it.
func Connect(ctx context.Context, componentType string, u Updater, log *slog.Logger) (*Client, error) {
	dir, err := os.MkdirTemp("", "updater")
	if err != nil {
		return nil, fmt.Errorf("cannot make a directory for the socket: %w", err)
	}
	socket := filepath.Join(dir, "s")
	lis, err := net.Listen("unix", socket)
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("cannot listen for the updater's client: %w", err)
	}
	srv := grpc.NewServer()
	proto.RegisterUpdaterServer(srv, newServer(componentType, u, log))
	exited := make(chan struct{})
	go func() { defer close(exited); srv.Serve(lis) }()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		srv.Stop()
		os.RemoveAll(dir)
		return nil, fmt.Errorf("cannot connect with the updater: %w", err)
	}
	c := &Client{api: proto.NewUpdaterClient(conn), exited: exited}
	c.kill = sync.OnceFunc(func() {
		srv.Stop()
		<-exited
		conn.Close()
		os.RemoveAll(dir)
	})
	if err := c.announce(ctx); err != nil {
		c.kill()
		return nil, err
	}
	return c, nil
}
