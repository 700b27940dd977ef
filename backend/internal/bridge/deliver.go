package bridge

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// clear has the object give up what others have left in it.
func (r *run) clear(ctx context.Context) error {
	v, err := r.look(ctx)
	if err != nil || v.stage == vacant || v.stage == installed {
		return err
	}
	return r.giveUp(ctx, v)
}

// giveUp has the object drop a package, and waits for that.
func (r *run) giveUp(ctx context.Context, v view) error {
	if v.stage == installing {
		return waiting{what: "an update that somebody else has begun on the device"}
	}
	var err error
	switch {
	case r.t.object == firmware:
		err = r.writeURI(ctx, "")
	case v.stage == ready:
		err = r.d.Execute(ctx, r.t.path.Child(objects.SoftwareUninstall), "")
	default: // object 9 can only end it by itself
		return waiting{what: "the device to end a download that somebody else has begun"}
	}
	if _, refused := errors.AsType[*lwm2m.Error](err); refused && r.t.object == firmware {
		err = r.d.Execute(ctx, r.t.path.Child(objects.FirmwareCancel), "")
	}
	if _, refused := errors.AsType[*lwm2m.Error](err); refused && r.t.object == firmware { // object 5, Package: one zero byte
		image := r.t.path.Child(r.t.object.image)
		err = r.d.Write(ctx, image, lwm2m.Replace, []lwm2m.Record{{Path: image, Value: lwm2m.Opaque([]byte{0})}})
	}
	if err != nil {
		return fmt.Errorf("the device does not give up the package that it has: %w", err)
	}
	if v, err = r.look(ctx); err != nil || v.stage == vacant || v.stage == installed {
		return err
	}
	return waiting{what: "the device to give up the package that it has"}
}

func (r *run) writeURI(ctx context.Context, uri string) error {
	p := r.t.path.Child(r.t.object.uri)
	return r.d.Write(ctx, p, lwm2m.Replace, []lwm2m.Record{{Path: p, Value: lwm2m.String(uri)}})
}

// vacate has what is installed make way: object 9 takes no package before. A
// device that refuses may not need it.
func (r *run) vacate(ctx context.Context) error {
	v, err := r.look(ctx)
	if err != nil || v.stage != installed {
		return err
	}
	if r.j.Vacated {
		if f, failed := r.t.object.failing(v); failed {
			return errors.New(f.words)
		}
		return waiting{what: "the device to make way for the new version"}
	}
	r.j.Vacated = true
	if err := r.note(ctx); err != nil {
		return err
	}
	err = r.d.Execute(ctx, r.t.path.Child(objects.SoftwareUninstall), objects.SoftwareUninstallForUpdate)
	if _, refused := errors.AsType[*lwm2m.Error](err); refused {
		r.j.Vacated = false
		r.log.Info("the device does not make way before an update", "component", r.j.Component, "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	return waiting{what: "the device to make way for the new version"}
}

// deliver brings the package to the device, and waits until the device has it and
// found it whole.
func (r *run) deliver(ctx context.Context) error {
	running, err := r.pushed()
	if running || err != nil {
		return err
	}
	v, err := r.look(ctx)
	if err != nil {
		return err
	}
	f, failed := r.t.object.failing(v)
	r.j.seen = r.j.seen || v.stage == fetching
	free := v.stage == vacant || v.stage == installed
	broken := r.t.object == software && v.stage == fetching && r.j.Way == deliverPush // object 9 cannot drop it, but may take it from the start
	switch {
	case !r.j.Offered && (free || broken):
		return r.offer(ctx, v)
	case !r.j.Offered: // of an earlier try
		return orOnceMore(r.giveUp(ctx, v))
	case v.stage == ready:
		return nil
	case v.stage == fetching && (r.j.Way != deliverPush || r.j.Pushed):
		return soon("the device to fetch and verify the package")
	case v.stage == fetching:
		return errInterrupted
	case failed && (v.result != r.j.Before || r.j.seen || r.settled()):
		return r.rejected(f)
	case r.j.Way == deliverPush && !r.j.Pushed:
		return errInterrupted // by the end of the bridge that had begun it, before the device knew
	case !r.settled():
		return soon("the device to begin to fetch the package")
	}
	return errors.New("the device has not begun to fetch the package, or has forgotten it")
}

var errInterrupted = errors.New("the push of the package was interrupted")

// errOnceMore has the step be done once more, at once.
var errOnceMore = errors.New("once more")

// orOnceMore has the step go on after what has succeeded.
func orOnceMore(err error) error {
	if err == nil {
		return errOnceMore
	}
	return err
}

// rejected says what to do about a package that the device could not get.
func (r *run) rejected(f failing) error {
	switch {
	case f.blame == hopeless:
		return failure{cause: f.words}
	case f.blame == reroute && r.nextWay():
		return errOnceMore
	}
	return errors.New(f.words)
}

// offer tells the device of the package, by the present way.
func (r *run) offer(ctx context.Context, v view) error {
	if r.j.Way == "" && !r.nextWay() {
		return failure{cause: r.noWay()}
	}
	r.j.Offered, r.j.Pushed, r.j.seen, r.j.Since, r.j.Before = true, false, false, time.Now(), v.result
	if err := r.note(ctx); err != nil {
		return err
	}
	r.log.Info("package is offered to the device", "component", r.j.Component, "update", r.j.ID, "by", r.j.Way)
	if r.j.Way == deliverPush {
		r.startPush()
		return soon("the package to be pushed")
	}
	return r.offered(r.writeURI(ctx, r.j.Way))
}

// offered says what follows from the device's answer to an offer.
func (r *run) offered(err error) error {
	refused, is := errors.AsType[*lwm2m.Error](err)
	switch {
	case is && refused.Code>>5 == 4 && r.nextWay():
		r.log.Info("the device refuses a way to bring the package", "component", r.j.Component, "error", err)
		return errOnceMore
	case is:
		return fmt.Errorf("the device refuses the package: %w", err)
	case err != nil:
		return err
	}
	return soon("the device to fetch the package")
}

// nextWay takes the next way to bring the package. It reports false if there is
// none.
func (r *run) nextWay() bool {
	ways := r.ways()
	next := slices.Index(ways, r.j.Way) + 1
	if next == len(ways) {
		return false
	}
	r.j.Way, r.j.Offered = ways[next], false
	return true
}

// maxURI is how long a URI may be, in bytes (objects 5 and 9).
const maxURI = 255

// ways lists how the package can come, the best one first: by the addresses of the
// file server whose protocols the device has, then pushed.
func (r *run) ways() (ways []string) {
	v, chosen := r.t.view, r.wants[r.j.Component].means.delivery
	protocols := v.protocols
	if t := r.at(lwm2m.NewPath(objects.FirmwareID, 0)); t != nil && r.t.object == software {
		protocols = t.view.protocols // the device is the same
	}
	for _, base := range r.addresses {
		uri := strings.TrimSuffix(base, "/") + r.blobPath()
		if v.pull && chosen != deliverPush && len(uri) <= maxURI && speaks(protocols, base) {
			ways = append(ways, uri)
		}
	}
	if v.push && chosen != deliverPull {
		ways = append(ways, deliverPush)
	}
	return ways
}

func (r *run) blobPath() string { return "/v2/" + r.j.Component + "/blobs/" + r.j.Blob }

func (r *run) noWay() string {
	if r.wants[r.j.Component].means.delivery == deliverPush {
		return "the device does not take packages that are pushed: let it pull them"
	}
	return "there is no way to bring the package: the device shall or can only pull it, and the bridge has no address of the file server whose protocol it supports; configure bridge.files"
}

// schemes are the values of Firmware Update Protocol Support.
var schemes = map[string]int64{
	"coap": objects.FirmwareProtocolCoAP, "coaps": objects.FirmwareProtocolCoAPS, "http": objects.FirmwareProtocolHTTP, "https": objects.FirmwareProtocolHTTPS,
	"coap+tcp": objects.FirmwareProtocolCoAPTCP, "coaps+tcp": objects.FirmwareProtocolCoAPTLS,
}

// speaks reports whether a device has the protocol of an address; one that does not
// say which it has is tried.
func speaks(protocols []int64, address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	protocol, known := schemes[u.Scheme]
	return known && (len(protocols) == 0 || slices.Contains(protocols, protocol))
}
