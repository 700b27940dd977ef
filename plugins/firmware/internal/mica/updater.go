// Package mica is the firmware updater of a HARTING MICA, whose Base OS is asked to
// write an image and to boot it. A version runs when the Base OS says so.
//
// What a Base OS does with an image that does not boot is not documented. Whether it
// goes back by itself or not: an update succeeds only if the device has booted the
// version, and the way back is to write the image of the version before, which is
// kept. That of the firmware that the device came with is the operator's to have.
package mica

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/tranquil-iot/tranquil/plugins/internal/disk"
	"github.com/tranquil-iot/tranquil/plugins/internal/mica"
	"github.com/tranquil-iot/tranquil/plugins/internal/service"
	"github.com/tranquil-iot/tranquil/sdk/boot"
	"github.com/tranquil-iot/tranquil/sdk/durable"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// Type is the type of the components that this updater handles.
const Type = "firmware"

// Settings are what the component manifest's "settings" hold on a MICA.
type Settings struct {
	Reports string `json:"reports,omitempty"` // what the Base OS calls this version; default: the version
}

// An Updater handles the firmware of one device. In its directory are
//
//	images/ID  the images that can be written, of which one may run
//	note.json  what was asked of the device
type Updater struct {
	base *mica.Base
	dir  string
	boot func() string // identity of this boot
	log  *slog.Logger
}

var (
	_ updater.UpdaterWithProbe  = (*Updater)(nil)
	_ updater.UpdaterWithStatus = (*Updater)(nil)
)

// New makes an updater of the firmware of a Base OS.
func New(base *mica.Base, env updater.Environment) updater.Updater {
	return &Updater{base: base, dir: env.Data, boot: boot.ID, log: env.Logger}
}

// Close ends the connection.
func (u *Updater) Close() error {
	u.base.Close()
	return nil
}

// A note is what is remembered.
type note struct {
	Factory  string           `json:"factory"`           // what the Base OS reported before the first version
	Current  string           `json:"current"`           // the version switched to; "" is what the device came with
	Versions map[string]image `json:"versions"`          // by id
	Written  *string          `json:"written,omitempty"` // the version whose image was written last, or may have been, unless it is known not to boot
	Trial    *trial           `json:"trial,omitempty"`   // what the next boot is to be of
	Failed   string           `json:"failed,omitempty"`  // the last version that was not booted
}

type image struct {
	Version string `json:"version"`
	Reports string `json:"reports"`
}

// A trial is an image that was written, and the boot in which that was done.
type trial struct {
	ID   string `json:"id"`
	Boot string `json:"boot"`
}

func (u *Updater) path(elem ...string) string {
	return filepath.Join(append([]string{u.dir}, elem...)...)
}

// look reads the note, and asks what runs.
func (u *Updater) look(ctx context.Context) (n note, running string, err error) {
	data, err := os.ReadFile(u.path("note.json"))
	if err == nil {
		err = json.Unmarshal(data, &n)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return n, "", fmt.Errorf("cannot tell which firmware was asked for: %w", err)
	}
	if err := u.base.Do(ctx, mica.Firmware, &running); err != nil {
		return n, "", mica.Retry(err)
	}
	if n.Factory == "" {
		n.Factory = running
	}
	if n.Versions == nil {
		n.Versions = map[string]image{}
	}
	return n, running, nil
}

func (u *Updater) save(n note) error {
	data, err := json.Marshal(n)
	if err == nil {
		err = disk.WriteFile(u.path("note.json"), data, 0o600)
	}
	return err
}

// reports is what the Base OS says when a version runs.
func (n note) reports(id string) string {
	if id == "" {
		return n.Factory
	}
	return n.Versions[id].Reports
}

// with looks at the device and does something with it.
func (u *Updater) with(ctx context.Context, component, what string, do func(n note, running string) error) error {
	if !strings.HasPrefix(component, Type+"/") {
		return fmt.Errorf("cannot %s %s: it is no component of type %q", what, component, Type)
	}
	n, running, err := u.look(ctx)
	if err == nil {
		err = do(n, running)
	}
	if err != nil {
		return fmt.Errorf("cannot %s %s: %w", what, component, err)
	}
	return nil
}

// Stage keeps the image: it is sent when it is to be written, and again on the way back.
func (u *Updater) Stage(ctx context.Context, r updater.StageRequest) (a updater.StageResponse, err error) {
	err = u.with(ctx, r.Component, "stage", func(n note, _ string) error {
		id, err := u.stage(ctx, n, r)
		a.Handle = updater.Handle{Version: 1, Data: []byte(id)}
		return err
	})
	return a, err
}

func (u *Updater) stage(ctx context.Context, n note, r updater.StageRequest) (id string, err error) {
	if r.MediaType != pack.MediaTypeRaw {
		return "", fmt.Errorf("the artifact is %q, must be an image as it is: raw = true in the recipe", r.MediaType)
	}
	s := Settings{Reports: r.Version}
	if len(r.Settings) > 0 {
		if err := service.Decode(r.Settings, &s); err != nil {
			return "", fmt.Errorf("bad firmware settings: %w", err)
		}
	}
	sum, err := u.keep(ctx, r.Artifact)
	if err != nil {
		return "", err
	}
	id = strings.ReplaceAll(r.Version, "/", "_") + "-" + sum
	if err := n.unique(id, s.Reports); err != nil {
		return "", err
	}
	if err := errors.Join(os.Rename(u.path("images", ".new"), u.path("images", id)), durable.Sync(u.path("images"))); err != nil {
		return "", err
	}
	n.Versions[id] = image{r.Version, s.Reports}
	if n.Failed == id { // it is asked for again
		n.Failed = ""
	}
	return id, u.save(n)
}

// unique refuses a version that could not be told from another one when it runs.
func (n note) unique(id, reports string) error {
	if reports == "" {
		return errors.New("reports is empty: it is what the Base OS calls this version")
	}
	if reports == n.Factory {
		return fmt.Errorf("the Base OS reports %s for what the device came with: an update to it could not be seen", reports)
	}
	for other, v := range n.Versions {
		if other != id && v.Reports == reports {
			return fmt.Errorf("the Base OS reports %s for version %s too, which is another image: they could not be told apart", reports, v.Version)
		}
	}
	return nil
}

const digestLength = 12

// keep copies an image, and returns what tells it from others.
func (u *Updater) keep(ctx context.Context, artifact string) (sum string, err error) {
	if err := os.MkdirAll(u.path("images"), 0o700); err != nil {
		return "", err
	}
	from, err := os.Open(artifact)
	if err != nil {
		return "", err
	}
	defer from.Close()
	to, err := os.Create(u.path("images", ".new"))
	if err != nil {
		return "", err
	}
	defer to.Close()
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(to, hash), service.Bounded(ctx, from)); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil))[:digestLength], to.Sync()
}

// Unstage removes images.
func (u *Updater) Unstage(ctx context.Context, r updater.UnstageRequest) error {
	return u.with(ctx, r.Component, "unstage", func(n note, _ string) error {
		for id, v := range n.Versions {
			switch {
			case !r.Handle.IsZero() && id != string(r.Handle.Data), r.Handle.IsZero() && v.Version != r.Version:
				continue
			case id == n.Current && !r.Handle.IsZero():
				return errors.New("it is the version switched to: switch to another first")
			case id == n.Current:
				continue
			}
			delete(n.Versions, id)
			if err := errors.Join(u.save(n), disk.Remove(u.path("images", id))); err != nil {
				return err
			}
		}
		return nil
	})
}

// Switch succeeds when the device runs the version.
func (u *Updater) Switch(ctx context.Context, r updater.SwitchRequest) error {
	return u.with(ctx, r.Component, "switch", func(n note, running string) error {
		id := string(r.Handle.Data)
		if _, known := n.Versions[id]; !r.Handle.IsZero() && !known {
			return fmt.Errorf("%.100q is not staged: stage the version again", id)
		}
		booted := n.Trial != nil && n.Trial.ID == id && n.Trial.Boot != u.boot()
		switch is := running == n.reports(id); {
		case is && booted, is && id == n.Current && (n.Written == nil || *n.Written == id):
			n.Current, n.Trial = id, nil
			return u.save(n)
		case is && id == n.Current: // another one is what would boot next
			if err := u.write(ctx, &n, id); err != nil {
				return err
			}
			n.Trial = nil
			return u.save(n)
		case booted:
			n.Trial, n.Written, n.Failed = nil, nil, id
			return errors.Join(u.save(n), fmt.Errorf("the device was to boot %s and runs %s", n.reports(id), running))
		}
		return u.flash(ctx, n, id)
	})
}

// write has the image of a version be what the device boots next. That it may be is noted
// before.
func (u *Updater) write(ctx context.Context, n *note, id string) error {
	place, file := "firmware-"+id, u.path("images", id)
	if id == "" {
		file = u.base.Config().Factory
	}
	if file == "" {
		return fmt.Errorf("there is no image of %s, which the device came with: name one as factory in %s", n.Factory, mica.File)
	}
	n.Written = &id
	if err := u.save(*n); err != nil {
		return err
	}
	if err := u.base.Upload(ctx, place, file); err != nil {
		return mica.Retry(err)
	}
	return mica.Retry(u.base.Do(ctx, mica.Flash, nil, "{upload}", place))
}

// flash has the device boot a version.
func (u *Updater) flash(ctx context.Context, n note, id string) error {
	if err := u.write(ctx, &n, id); err != nil {
		return err
	}
	again := n.Failed == id
	n.Trial = &trial{id, u.boot()}
	if err := u.save(n); err != nil {
		return err
	}
	if u.base.Config().Reboot && !again { // lest it boots for ever
		if err := u.base.Do(ctx, mica.Reboot, nil); err != nil && !errors.Is(err, mica.ErrLost) {
			u.log.Error("the device does not reboot", "error", err)
		}
	}
	return fmt.Errorf("the next boot is one of %s: %w", n.reports(id), updater.ErrReboot)
}

func (n note) runs(running string) error {
	if want := n.reports(n.Current); running != want {
		return fmt.Errorf("the device runs %s, not %s: %w", running, want, updater.ErrReboot)
	}
	return nil
}

// Start finds the device running, or has it boot the version once more.
func (u *Updater) Start(ctx context.Context, r updater.StartRequest) error {
	return u.with(ctx, r.Component, "start", func(n note, running string) error {
		if n.Current == "" {
			return errors.New("no version was switched to: stage one first")
		}
		if running == n.reports(n.Current) || n.Trial != nil && n.Trial.ID == n.Current && n.Trial.Boot == u.boot() {
			return n.runs(running)
		}
		return u.flash(ctx, n, n.Current)
	})
}

// Stop has nothing to do: firmware ends with the next boot.
func (u *Updater) Stop(context.Context, updater.StopRequest) (updater.StopResponse, error) {
	return updater.StopResponse{}, nil
}

// Probe asks what runs: nothing else is known of a Base OS.
func (u *Updater) Probe(ctx context.Context, r updater.ProbeRequest) (a updater.ProbeResponse, err error) {
	err = u.with(ctx, r.Component, "probe", func(n note, running string) error {
		if reason := n.runs(running); reason != nil {
			a.Reason = reason.Error()
		}
		a.Healthy = a.Reason == ""
		return nil
	})
	return a, err
}

// Status tells which version was switched to, and whether it runs.
func (u *Updater) Status(ctx context.Context, r updater.StatusRequest) (a updater.StatusResponse, err error) {
	err = u.with(ctx, r.Component, "look at", func(n note, running string) error {
		if n.Current != "" {
			a = updater.StatusResponse{
				Version: n.Versions[n.Current].Version, Running: n.runs(running) == nil,
				Handle: updater.Handle{Version: 1, Data: []byte(n.Current)},
			}
		}
		return nil
	})
	return a, err
}
