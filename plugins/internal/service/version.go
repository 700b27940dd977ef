package service

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tranquil-iot/tranquil/plugins/internal/disk"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/replica"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

const (
	handleVersion = 1  // of Handle.Data, which is the id of a version
	digestLength  = 12 // hex digits of the digest in the id
)

// A Version is one that is staged.
type Version struct {
	ID       string          `json:"-"` // VERSION-DIGEST, the name of its directory
	Version  string          `json:"version"`
	Settings json.RawMessage `json:"settings"`
	Traits   Traits          `json:"-"` // what Settings say
	dir      string
}

// Files is the directory of its files.
func (v Version) Files() string { return filepath.Join(v.dir, "files") }

// note is where version is written down.
func (v Version) note() string { return filepath.Join(v.dir, "version.json") }

// Stage unpacks the artifact under a name that has a digest of it and of the
// settings: a version that was staged before is known by it and repaired if
// need be, and another artifact of the same version lies beside it.
func (u *Updater) Stage(ctx context.Context, r updater.StageRequest) (updater.StageResponse, error) {
	h, done, err := u.work(ctx, r.Component)
	if err != nil {
		return updater.StageResponse{}, err
	}
	defer done()
	v, err := h.stage(ctx, r)
	if err != nil {
		return updater.StageResponse{}, fmt.Errorf("cannot stage %s %s: %w", r.Component, r.Version, err)
	}
	return updater.StageResponse{Handle: v.handle()}, nil
}

func (v Version) handle() updater.Handle {
	return updater.Handle{Version: handleVersion, Data: []byte(v.ID)}
}

func (h Home) stage(ctx context.Context, r updater.StageRequest) (Version, error) {
	if r.MediaType != pack.MediaTypeArtifact {
		return Version{}, fmt.Errorf("artifact is %q, must be %q", r.MediaType, pack.MediaTypeArtifact)
	}
	settings := r.Settings
	if len(settings) == 0 { // a manifest without any
		settings = []byte("{}")
	}
	if !validName.MatchString(strings.ReplaceAll(r.Version, "+", "_")) {
		return Version{}, fmt.Errorf("%q is no version", r.Version)
	}
	id, err := versionID(ctx, r)
	if err != nil {
		return Version{}, err
	}
	v := Version{ID: id, Version: r.Version, Settings: settings, dir: h.versionDir(id)}
	if !disk.Exists(v.note()) {
		if err := h.driver.Check(settings); err != nil {
			return Version{}, err
		}
	}
	if v.Traits, err = h.driver.Traits(settings); err != nil {
		return Version{}, err
	}
	kept, err := h.keeps(ctx, v)
	if err == nil && !kept {
		err = h.unpack(ctx, v, r.Artifact)
	}
	if err != nil {
		return v, err
	}
	return v, h.prepare(ctx, v)
}

// keeps reports whether v runs, and has made of its files what it likes.
func (h Home) keeps(ctx context.Context, v Version) (bool, error) {
	if !v.Traits.Own || !disk.Exists(v.note()) {
		return false, nil
	}
	now, runs, err := h.supervised(ctx)
	return runs && now.Spec.Version == v.ID, err
}

func versionID(ctx context.Context, r updater.StageRequest) (string, error) {
	artifact, err := os.Open(r.Artifact)
	if err != nil {
		return "", err
	}
	defer artifact.Close()
	hash := sha256.New()
	fmt.Fprintf(hash, "%d\n%s", len(r.Settings), r.Settings)
	if _, err := io.Copy(hash, Bounded(ctx, artifact)); err != nil {
		return "", err
	}
	return r.Version + "-" + hex.EncodeToString(hash.Sum(nil))[:digestLength], nil
}

// unpack makes v.dir appear, whole and durable. What is there already is
// left alone as far as it is whole: the component may be running in it.
func (h Home) unpack(ctx context.Context, v Version, artifact string) error {
	half := h.halfDone(v.ID)
	if err := replica.RemoveAll(half); err != nil {
		return err
	}
	if err := os.MkdirAll(half, 0o755); err != nil {
		return err
	}
	files := filepath.Join(half, "files")
	if err := h.driver.Unpack(ctx, h, v, artifact, files); err != nil {
		return err
	}
	note, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if same, err := disk.Holds(v.Files(), files); err == nil && same {
		return errors.Join(disk.WriteFile(v.note(), note, 0o600), replica.RemoveAll(half))
	}
	if err := disk.WriteFile(filepath.Join(half, filepath.Base(v.note())), note, 0o600); err != nil {
		return err
	}
	if err := disk.Remove(v.dir); err != nil {
		return err
	}
	return disk.Rename(half, v.dir)
}

func (h Home) versionDir(id string) string { return h.Path("versions", id) }
func (h Home) halfDone(id string) string   { return h.Path("versions", "."+id+".new") }

// Bounded returns a reader that ends with its context.
func Bounded(ctx context.Context, r io.Reader) io.Reader { return bounded{ctx, r} }

type bounded struct {
	ctx context.Context
	io.Reader
}

func (b bounded) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	return b.Reader.Read(p)
}

// Unstage removes a version, or whatever was begun of it.
func (u *Updater) Unstage(ctx context.Context, r updater.UnstageRequest) error {
	h, done, err := u.work(ctx, r.Component)
	if err != nil {
		return err
	}
	defer done()
	if err := h.unstage(ctx, r); err != nil {
		return fmt.Errorf("cannot unstage %s %s: %w", r.Component, r.Version, err)
	}
	return nil
}

func (h Home) unstage(ctx context.Context, r updater.UnstageRequest) error {
	current, err := h.currentID()
	if err != nil {
		return err
	}
	if !r.Handle.IsZero() {
		id, err := parseHandle(r.Handle)
		if err != nil {
			return err
		}
		if id == current {
			return errors.New("it is the version switched to: switch to another first")
		}
		if current == "" && disk.Exists(h.incoming()) { // the component was removed, and nothing is left of its state
			if err := removeAll(h.State()); err != nil {
				return err
			}
			if err := removeAll(h.incoming()); err != nil { // the last, which tells of the removal
				return err
			}
		}
		// Nobody turns back any more, and the next Save need not see to it.
		return errors.Join(h.forget(ctx, id), removeAll(h.versionDir(id), h.origin(), h.applied()), replica.RemoveAll(h.halfDone(id)), h.discardOld())
	}
	entries, err := os.ReadDir(h.Path("versions"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		if name == current || !isOf(name, r.Version) {
			continue
		}
		remove := disk.Remove
		if strings.HasPrefix(name, ".") {
			remove = replica.RemoveAll
		} else if err := h.forget(ctx, name); err != nil {
			return err
		}
		if err := remove(h.Path("versions", name)); err != nil {
			return err
		}
	}
	return nil
}

// isOf reports whether a name in versions/ belongs to a version, staged, half
// done or half removed.
func isOf(name, version string) bool {
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".new"), ".gone")
	rest, ok := strings.CutPrefix(strings.TrimPrefix(name, "."), version+"-")
	return ok && len(rest) == digestLength && strings.Trim(rest, "0123456789abcdef") == ""
}

// Switch replaces the link "current" atomically.
func (u *Updater) Switch(ctx context.Context, r updater.SwitchRequest) error {
	h, done, err := u.work(ctx, r.Component)
	if err != nil {
		return err
	}
	defer done()
	if err := h.switchTo(r.Handle); err != nil {
		return fmt.Errorf("cannot switch %s: %w", r.Component, err)
	}
	return nil
}

func (h Home) switchTo(handle updater.Handle) error {
	if handle.IsZero() {
		return removeAll(h.Path("current"))
	}
	id, err := parseHandle(handle)
	if err != nil {
		return err
	}
	if _, err := h.version(id); err != nil {
		return err
	}
	return disk.Symlink(filepath.Join("versions", id), h.Path("current"))
}

func parseHandle(handle updater.Handle) (id string, err error) {
	id = string(handle.Data)
	if handle.Version != handleVersion || !filepath.IsLocal(id) || strings.ContainsAny(id, "/\x00") || id[0] == '.' {
		return "", fmt.Errorf("handle of format %d is not this updater's: stage the version again", handle.Version)
	}
	return id, nil
}

// version reads what is staged under id.
func (h Home) version(id string) (Version, error) {
	v := Version{ID: id, dir: h.versionDir(id)}
	data, err := os.ReadFile(v.note())
	if errors.Is(err, fs.ErrNotExist) {
		return v, fmt.Errorf("%s is not staged", id)
	}
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return v, fmt.Errorf("cannot read version.json of %s: %w", id, err)
	}
	v.Traits, err = h.driver.Traits(v.Settings)
	return v, err
}

// currentID returns the version switched to, "" if none.
func (h Home) currentID() (string, error) {
	target, err := os.Readlink(h.Path("current"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return filepath.Base(target), err
}

// current returns the version switched to, or ok false if there is none.
func (h Home) current() (v Version, ok bool, err error) {
	id, err := h.currentID()
	if err != nil || id == "" {
		return Version{}, false, err
	}
	v, err = h.version(id)
	return v, err == nil, err
}
