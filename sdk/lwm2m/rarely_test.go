package lwm2m

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestFloodsOfLines: a second has ten lines, and the next one tells how many it had not.
func TestFloodsOfLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		var r rarely
		logger := slog.New(slog.NewTextHandler(&out, nil))
		for range 9000 {
			r.log(logger.Warn, "too many wait", "endpoint", "device-1")
		}
		if n := strings.Count(out.String(), "\n"); n != maxLines {
			t.Errorf("%d lines", n)
		}
		time.Sleep(time.Second)
		r.log(logger.Warn, "too many wait", "endpoint", "device-1")
		r.log(logger.Warn, "too many wait", "endpoint", "device-1")
		if n := strings.Count(out.String(), "missed=8990"); n != 1 {
			t.Errorf("told %d times how many were missed", n)
		}
	})
}

// TestFloodOfStrangers: whoever sends rubbish writes ten lines a second into the log of
// a server, of either kind.
func TestFloodOfStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&out, nil))
		for name, handler := range map[string]Handler{
			"management": serverHandler{NewServer(ServerConfig{Logger: logger})},
			"bootstrap":  bootstrapHandler{NewBootstrapServer(BootstrapServerConfig{Logger: logger})},
		} {
			out.Reset()
			for range 1000 {
				handler.ServeRequest(t.Context(), "192.0.2.1:5683", &Message{Code: Post, Path: []string{"nothing"}})
			}
			if n := strings.Count(out.String(), "\n"); n != maxLines {
				t.Errorf("%s: %d lines", name, n)
			}
		}
	})
}
