// Package store keeps devices, their twins, what waits for them and the log of events in NATS JetStream: in a server
// within this process, or in a cluster elsewhere that several hubs share.
// A device is one entry of a key-value bucket, changed by compare-and-swap; an entry carries the event that its last
// change caused, so that a crash between the change and the log loses nothing: whoever writes the entry next, or notices
// that the writer is gone, sends what the log does not have. All entries are in memory too, fed by a watch, for questions
// about many. Whatever a method has answered survives a power cut (every write is synced). No other package knows NATS.
package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Config says where and how much to keep.
type Config struct {
	Dir string // of the server in this process; created if missing, mode 0700; one process at a time
	// Cluster names NATS servers elsewhere, as in nats://user:password@a,nats://b; then nothing is kept here. They need
	// JetStream, with `sync_interval: always` and max_payload of 4 MB.
	Cluster  string
	Log      *slog.Logger
	LogBytes int64         // size of the event log; the oldest events go first. 0: 256 MiB
	LogAge   time.Duration // age of the oldest event. 0: 7 days
	// HistoryBytes is the size of the history of updates, which has no age; the oldest outcomes go first. 0: 1 GiB
	HistoryBytes int64
}

// Store is open from Open to Close and safe for concurrent use.
type Store struct {
	log       *slog.Logger
	node      string // of this process, another one each time
	lock      *os.File
	server    *server.Server
	conn      *nats.Conn
	js        jetstream.JetStream
	devices   jetstream.KeyValue
	entries   jetstream.Stream // of the bucket devices
	events    jetstream.Stream
	nodes     jetstream.KeyValue
	queue     jetstream.Stream              // commands that wait
	ends      jetstream.Consumer            // feedback about commands that have ended
	documents map[string]jetstream.KeyValue // by kind
	logAge    time.Duration
	history   jetstream.Stream
	room      *room     // in the event log
	tells     *appender // to the event log
	outcomes  *appender // to the history
	changes   *appender // of devices
	index     *index

	stripes [256]sync.Mutex // by device: keeps its changes and their events in one order
	unsent  sync.Map        // ids of devices whose last event could not be appended
	tasks   sync.WaitGroup  // that end when the connection does
	stop    context.CancelFunc
}

// Open starts the embedded server, or connects to the cluster, and brings the event log up to date with the devices.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.LogBytes == 0 {
		cfg.LogBytes = 256 << 20
	}
	if cfg.LogAge == 0 {
		cfg.LogAge = 7 * 24 * time.Hour
	}
	if cfg.HistoryBytes == 0 {
		cfg.HistoryBytes = 1 << 30
	}
	s := &Store{
		log: cfg.Log, logAge: cfg.LogAge, node: strings.ToLower(rand.Text()), index: newIndex(), room: newRoom(cfg.LogBytes), stop: func() {},
	}
	if err := s.open(ctx, cfg); err != nil {
		s.Close()
		return nil, fmt.Errorf("cannot open store in %s: %w", cmp.Or(redacted(cfg.Cluster), cfg.Dir), err)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, cfg Config) error {
	began := time.Now()
	if err := s.connect(cfg); err != nil {
		return err
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	for _, appender := range []*appender{s.tells, s.outcomes, s.changes} {
		s.tasks.Go(func() { appender.run(background) })
	}
	if err := s.provide(ctx, cfg); err != nil {
		return err
	}
	if s.server != nil {
		if err := s.forgetNodes(ctx); err != nil {
			return err
		}
	}
	if err := s.beat(ctx); err != nil {
		return err
	}
	s.tasks.Go(func() { s.keepBeating(background) })
	s.tasks.Go(func() { s.feedIndex(background) })
	if err := s.recover(ctx); err != nil {
		return err
	}
	s.log.Info("store is open", "where", cmp.Or(redacted(cfg.Cluster), cfg.Dir), "took", time.Since(began))
	return nil
}

func (s *Store) connect(cfg Config) (err error) {
	options := []nats.Option{nats.MaxReconnects(-1), nats.Timeout(time.Minute), nats.Name("tranquil-hub " + s.node)}
	if cfg.Cluster == "" {
		if s.lock, err = lockDir(cfg.Dir); err != nil {
			return err
		}
		if s.server, err = startServer(cfg.Dir, cfg.Log); err != nil {
			return err
		}
		// The server is in this process: only a machine that does much else makes it late.
		options = append(options, nats.InProcessServer(s.server))
	}
	if s.conn, err = nats.Connect(cfg.Cluster, options...); err != nil {
		return err
	}
	if s.conn.MaxPayload() < maxEntry {
		return fmt.Errorf("these servers take messages of %d bytes only: set their max_payload to %d", s.conn.MaxPayload(), maxEntry)
	}
	if s.js, err = jetstream.New(s.conn); err != nil {
		return err
	}
	s.tells, s.outcomes, s.changes = newAppender(s.js), newAppender(s.js), newAppender(s.js)
	return nil
}

// provide makes what is not there yet: buckets and streams.
func (s *Store) provide(ctx context.Context, cfg Config) (err error) {
	if err := s.provideDevices(ctx); err != nil {
		return err
	}
	if s.nodes, err = s.bucket(ctx, jetstream.KeyValueConfig{Bucket: "nodes", TTL: nodeLife}); err != nil {
		return err
	}
	s.events, err = s.stream(ctx, jetstream.StreamConfig{
		Name: "events", Subjects: []string{"events.>"}, MaxBytes: cfg.LogBytes, MaxAge: cfg.LogAge, AllowAtomicPublish: true, Duplicates: min(onceWithin, cfg.LogAge),
	})
	if err != nil {
		return err
	}
	if err := s.provideHistory(ctx, cfg.HistoryBytes); err != nil {
		return err
	}
	if err := s.provideDocuments(ctx); err != nil {
		return err
	}
	return s.provideQueue(ctx)
}

// provideDevices makes the bucket of devices, whose stream takes batches.
func (s *Store) provideDevices(ctx context.Context) (err error) {
	if s.devices, err = s.bucket(ctx, jetstream.KeyValueConfig{Bucket: "devices"}); err != nil {
		return err
	}
	if s.entries, err = s.js.Stream(ctx, "KV_devices"); err != nil {
		return err
	}
	cfg := s.entries.CachedInfo().Config
	cfg.AllowAtomicPublish = true
	s.entries, err = s.js.UpdateStream(ctx, cfg)
	return err
}

func (s *Store) bucket(ctx context.Context, cfg jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	replicas, err := s.replicas(ctx, "KV_"+cfg.Bucket)
	if err != nil {
		return nil, err
	}
	cfg.Replicas = replicas
	return s.js.CreateOrUpdateKeyValue(ctx, cfg)
}

func (s *Store) stream(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	replicas, err := s.replicas(ctx, cfg.Name)
	if err != nil {
		return nil, err
	}
	cfg.Replicas = replicas
	return s.js.CreateOrUpdateStream(ctx, cfg)
}

// replicas is three where there are three servers, and never fewer than there have been.
func (s *Store) replicas(ctx context.Context, stream string) (int, error) {
	want := 1
	if s.conn.ConnectedClusterName() != "" && len(s.conn.Servers()) >= 3 {
		want = 3
	}
	known, err := s.js.Stream(ctx, stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return want, nil
	}
	if err != nil {
		return 0, err
	}
	return max(want, known.CachedInfo().Config.Replicas), nil
}

// redacted is addresses without passwords.
func redacted(cluster string) string {
	if cluster == "" {
		return ""
	}
	var hosts []string
	for address := range strings.SplitSeq(cluster, ",") {
		hosts = append(hosts, address[strings.LastIndex(address, "@")+1:])
	}
	return strings.Join(hosts, ",")
}

// Close stops the server, if it is here; it does not fail, since everything answered is on disk already.
func (s *Store) Close() {
	s.stop()
	if s.conn != nil {
		s.leave()
		s.conn.Close()
	}
	s.tasks.Wait()
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
