package files

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/durable"
	"github.com/tranquil-iot/tranquil/sdk/trust"
)

// A vouching serves trust metadata and keeps it fresh.
type vouching struct {
	repository *trust.Repository
	path       string // of the online key, or what else names it
	log        *slog.Logger
	said       tellings // by role; the goroutine of keepFresh alone has it

	opening sync.Mutex // which may take long
	key     trust.Key  // of snapshot and timestamp; nil: there is none that can be used

	mu      sync.Mutex
	problem error            // why snapshot and timestamp cannot be signed
	last    []trust.Standing // of the last look; nil: there is another since
}

// openTrust reads the directory of metadata, and the online key: the one that is named,
// or that of the file beside the metadata, which is made at the first start and never
// leaves this machine. Without a key that can be used all is served, and nothing is
// signed.
func openTrust(dir, key string, log *slog.Logger) (*vouching, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make directory of trust: %w", err)
	}
	r, err := trust.OpenRepository(filepath.Join(dir, "metadata"), log)
	if err != nil {
		return nil, err
	}
	v := &vouching{repository: r, path: cmp.Or(key, filepath.Join(dir, "online.key")), log: log, said: tellings{}}
	if _, v.problem = v.signer(); v.problem != nil {
		log.Error("packages are served, but trust metadata is not signed", "error", v.problem)
	}
	return v, nil
}

// signer is the online key. One that cannot be used may be mended while the
// server runs.
func (v *vouching) signer() (trust.Key, error) {
	v.opening.Lock()
	defer v.opening.Unlock()
	if v.key != nil {
		return v.key, nil
	}
	key, err := onlineKey(v.path)
	if err != nil && trust.IsElsewhere(v.path) {
		return nil, fmt.Errorf("cannot use the file server's key: %w; mend that, or name another key (online_key) and tranquil trust rotate DIR online", err)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot use the file server's key: %w; mend it or bring it from a backup, or remove it, and tranquil trust rotate DIR online", err)
	}
	id, err := trust.KeyID(key.Public())
	if err != nil {
		return nil, err
	}
	v.log.Info("snapshot and timestamp are signed by this server", "key", trust.Short(id)) // to be compared with what tranquil trust init says
	v.key = key
	return key, nil
}

func onlineKey(path string) (trust.Key, error) {
	if _, err := os.Stat(path); trust.IsElsewhere(path) || !errors.Is(err, fs.ErrNotExist) {
		return trust.ReadKey(path, func() ([]byte, error) {
			return nil, errors.New("nobody is there to type a passphrase: the online key must not be encrypted, and the PIN of a module be in the file that its pin-source names")
		})
	}
	key, err := trust.NewKey()
	if err != nil {
		return nil, err
	}
	b, err := trust.EncodeKey(key, nil)
	if err != nil {
		return nil, err
	}
	if err := durable.WriteFile(path, b, 0o600); err != nil {
		return nil, fmt.Errorf("cannot store the online key: %w", err)
	}
	return key, nil
}

// keepFresh signs what is about to expire, until ctx ends, and raises the alarm
// about what only people can sign.
func (v *vouching) keepFresh(ctx context.Context) error {
	ticker := time.NewTicker(alarmCheck)
	defer ticker.Stop()
	for {
		v.look(time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (v *vouching) look(now time.Time) {
	_ = v.refresh(now) // standings say why not
	if !v.repository.Founded() {
		return
	}
	for _, s := range v.standings(now) {
		v.said.tell(v.log, s.Role, s.Problem, now, "trust metadata needs somebody", "role", s.Role, "version", s.Version, "expires", s.Expires)
	}
}

func (v *vouching) refresh(now time.Time) error {
	key, err := v.signer()
	changed := false
	if err == nil {
		changed, err = v.repository.Refresh(key, now)
	}
	if changed {
		v.log.Info("snapshot and timestamp signed")
		v.repository.Expire()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.problem, v.last = err, nil
	return err
}

// lastStandings are those of the last look, since each takes a reading of all files.
func (v *vouching) lastStandings() []trust.Standing {
	v.mu.Lock()
	last := v.last
	v.mu.Unlock()
	if last == nil {
		last = v.standings(time.Now())
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last = last
	return last
}

// standings also say why this server cannot sign.
func (v *vouching) standings(now time.Time) []trust.Standing {
	all := v.repository.Standings(now)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.problem == nil {
		return all
	}
	at := slices.IndexFunc(all, func(s trust.Standing) bool { return s.Role == trust.Timestamp })
	if at < 0 {
		at, all = len(all), append(all, trust.Standing{Role: trust.Timestamp})
	}
	all[at].Problem = fmt.Sprintf("devices will refuse every package when it has expired: %v", v.problem)
	return all
}

// get answers /trust/…
func (v *vouching) get(name string) (*resource, error) {
	switch name {
	case "online.pub":
		return v.public()
	case "status":
		return jsonResource(v.standings(time.Now()))
	}
	b, err := v.repository.Read(name)
	if errors.Is(err, trust.ErrNotFound) {
		return nil, refuse(http.StatusNotFound, "NAME_UNKNOWN", "no trust metadata %.100q", name)
	}
	if err != nil {
		return nil, err
	}
	return bytesResource(b)
}

func (v *vouching) public() (*resource, error) {
	key, err := v.signer()
	if err != nil {
		return nil, refuse(http.StatusServiceUnavailable, "UNAVAILABLE", "%w", err)
	}
	b, err := trust.EncodePublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	return mediaResource(b, "application/x-pem-file")
}

// add takes what offline keys have signed.
func (v *vouching) add(name string, b []byte) error {
	err := v.repository.Add(name, b)
	for _, c := range []struct {
		err    error
		status int
	}{
		{trust.ErrConflict, http.StatusConflict},
		{trust.ErrVersion, http.StatusConflict},
		{trust.ErrUnsigned, http.StatusForbidden},
		{trust.ErrMalformed, http.StatusBadRequest},
		{trust.ErrMixed, http.StatusBadRequest},
	} {
		if errors.Is(err, c.err) {
			return refuse(c.status, "DENIED", "%w", err)
		}
	}
	if err != nil {
		return err
	}
	v.log.Info("trust metadata published", "file", name)
	if err := v.refresh(time.Now()); err != nil {
		return refuse(http.StatusConflict, "DENIED", "%s is published, but: %w", name, err)
	}
	return nil
}

// vouch takes the next version of a role over HTTP.
func (s *Server) vouch(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(io.LimitReader(r.Body, trust.MaxSize+1))
	switch {
	case err != nil:
		err = refuse(http.StatusBadRequest, "DENIED", "upload broke off: %w", err)
	case len(b) > trust.MaxSize:
		err = refuse(http.StatusRequestEntityTooLarge, "DENIED", "metadata has more than %d bytes", trust.MaxSize)
	default:
		file := r.PathValue("file")
		err = s.cfg.Audit(r, "trust.publish", file, func() error { return s.trust.add(file, b) })
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	w.WriteHeader(http.StatusCreated)
}
