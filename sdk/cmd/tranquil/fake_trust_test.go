package main

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/trust"
)

// fakeTrust is the trust part of the file server: the repository is the real
// one, in a directory that scripts can look at.
type fakeTrust struct {
	*trust.Repository
	dir string

	mu  sync.Mutex
	key trust.Key // made anew when scripts remove its public half
}

func newFakeTrust(dir string) (*fakeTrust, error) {
	r, err := trust.OpenRepository(filepath.Join(dir, "metadata"), slog.New(slog.DiscardHandler))
	return &fakeTrust{Repository: r, dir: dir}, err
}

func (f *fakeTrust) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	public, err := f.online()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if r.Method == http.MethodPut {
		f.put(w, r)
		return
	}
	switch name := r.PathValue("file"); name {
	case "online.pub":
		w.Write(public)
	case "status":
		json.NewEncoder(w).Encode(f.Standings(time.Now()))
	default:
		b, err := f.Read(name)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		w.Write(b)
	}
}

func (f *fakeTrust) put(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if r.Header.Get("Authorization") != "Bearer "+fakeToken {
		err = errors.New("wrong token")
	}
	if err == nil {
		err = f.Add(r.PathValue("file"), b)
	}
	if err == nil {
		_, err = f.Refresh(f.key, time.Now())
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
	}
}

func (f *fakeTrust) online() ([]byte, error) {
	path := filepath.Join(f.dir, "online.pub")
	b, err := os.ReadFile(path)
	if err == nil {
		return b, nil
	}
	if f.key, err = trust.NewKey(); err != nil {
		return nil, err
	}
	if b, err = trust.EncodePublicKey(f.key.Public()); err != nil {
		return nil, err
	}
	return b, os.WriteFile(path, b, 0o644)
}
