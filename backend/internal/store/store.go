// Package store keeps devices, their twins and the log of events in an embedded NATS JetStream.
// A device is one entry of a key-value bucket, changed by compare-and-swap; an entry carries the event that its last
// change caused, so that a crash between the change and the log loses nothing: Open sends what the log does not have.
// Whatever a method has answered survives a power cut (every write is synced). No other package knows NATS.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Config says where and how much to keep.
type Config struct {
	Dir      string // created if missing, mode 0700; one process at a time
	Log      *slog.Logger
	LogBytes int64         // size of the event log; the oldest events go first. 0: 256 MiB
	LogAge   time.Duration // age of the oldest event. 0: 7 days
}

// Store is open from Open to Close and safe for concurrent use.
type Store struct {
	log     *slog.Logger
	lock    *os.File
	server  *server.Server
	conn    *nats.Conn
	js      jetstream.JetStream
	devices jetstream.KeyValue
	events  jetstream.Stream
	logAge  time.Duration

	stripes [256]sync.Mutex // by device: keeps its changes and their events in one order
	unsent  sync.Map        // ids of devices whose last event could not be appended
}

// Open starts the embedded server on cfg.Dir and brings the event log up to date with the devices.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.LogBytes == 0 {
		cfg.LogBytes = 256 << 20
	}
	if cfg.LogAge == 0 {
		cfg.LogAge = 7 * 24 * time.Hour
	}
	s := &Store{log: cfg.Log, logAge: cfg.LogAge}
	if err := s.open(ctx, cfg); err != nil {
		s.Close()
		return nil, fmt.Errorf("cannot open store in %s: %w", cfg.Dir, err)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, cfg Config) error {
	began := time.Now()
	var err error
	if s.lock, err = lockDir(cfg.Dir); err != nil {
		return err
	}
	if s.server, err = startServer(cfg.Dir, cfg.Log); err != nil {
		return err
	}
	// The server is in this process: only a machine that does much else makes it late.
	if s.conn, err = nats.Connect("", nats.InProcessServer(s.server), nats.MaxReconnects(-1), nats.Timeout(time.Minute)); err != nil {
		return err
	}
	if s.js, err = jetstream.New(s.conn); err != nil {
		return err
	}
	s.devices, err = s.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "devices"})
	if err != nil {
		return err
	}
	s.events, err = s.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: "events", Subjects: []string{"events.>"}, MaxBytes: cfg.LogBytes, MaxAge: cfg.LogAge,
	})
	if err != nil {
		return err
	}
	if err := s.recover(ctx); err != nil {
		return err
	}
	s.log.Info("store is open", "dir", cfg.Dir, "took", time.Since(began))
	return nil
}

// Close stops the server; it does not fail, since everything answered is on disk already.
func (s *Store) Close() {
	if s.conn != nil {
		s.conn.Close()
	}
	if s.server != nil {
		s.server.Shutdown()
		s.server.WaitForShutdown()
	}
	if s.lock != nil {
		s.lock.Close() // and with it the lock
	}
}

// lockDir keeps a second process out: two servers on one directory destroy it.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.New("another process uses it: stop that first")
		}
		return nil, err
	}
	return f, nil
}
