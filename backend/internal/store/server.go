package store

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// maxEntry bounds a message: a device with full twin sections and their metadata is below 2 MB.
const maxEntry = 4 << 20

// startServer runs NATS in this process, reachable only from it.
func startServer(dir string, log *slog.Logger) (*server.Server, error) {
	s, err := server.NewServer(&server.Options{
		ServerName: "tranquil",
		DontListen: true,
		NoSigs:     true,
		MaxPayload: maxEntry,
		JetStream:  true,
		StoreDir:   filepath.Join(dir, "jetstream"),
		// The default syncs every two minutes and loses acknowledged writes in a power cut (Jepsen, 2025-12).
		SyncAlways: true,
		// What streams may have at most is no reason not to start on a small disk: they seldom have it.
		JetStreamMaxStore:      1 << 50,
		DisableJetStreamBanner: true,
	})
	if err != nil {
		return nil, err
	}
	s.SetLoggerV2(natsLog{log}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		s.Shutdown()
		return nil, errors.New("embedded NATS server does not start: see the log")
	}
	return s, nil
}

// natsLog gives the server's log to slog; what the server calls a notice is detail here.
type natsLog struct{ log *slog.Logger }

func (l natsLog) Noticef(format string, v ...any) {
	l.log.Debug("nats", "notice", fmt.Sprintf(format, v...))
}

func (l natsLog) Warnf(format string, v ...any) {
	l.log.Warn("nats", "warning", fmt.Sprintf(format, v...))
}

func (l natsLog) Errorf(format string, v ...any) {
	l.log.Error("nats", "error", fmt.Sprintf(format, v...))
}

func (l natsLog) Fatalf(format string, v ...any) {
	l.log.Error("nats", "fatal", fmt.Sprintf(format, v...))
}
func (l natsLog) Debugf(string, ...any) {}
func (l natsLog) Tracef(string, ...any) {}
