package web

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/fleet"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

type packageList struct {
	Offers []fleet.Offer
	Here   bool // whether packages are in this process
	Runs   map[string]int
}

func (w *Web) listPackages(v *visit) error {
	devices, err := w.Fleet.Find(v.Context(), "")
	if err != nil {
		return err
	}
	page := packageList{Offers: w.Fleet.Offers(), Here: w.Fleet.Shop != nil, Runs: map[string]int{}}
	for _, d := range devices {
		for _, c := range d.Components {
			if c.Version != "" {
				page.Runs[c.Name]++
			}
		}
	}
	return v.show("packages", "Packages", page)
}

// uploadTime bounds an upload.
const uploadTime = time.Hour

// uploadPackage takes the first file of a form as it arrives.
func (w *Web) uploadPackage(v *visit) error {
	control := http.NewResponseController(v.w)
	control.SetReadDeadline(time.Now().Add(uploadTime))
	control.SetWriteDeadline(time.Now().Add(uploadTime + time.Minute))
	form, err := v.MultipartReader()
	if err != nil {
		return twin.Malformed.With("not a file: %v", err)
	}
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			return twin.ArgumentInvalid.With("choose a file")
		}
		if err != nil {
			return twin.Malformed.With("the upload broke off: %v", err)
		}
		if part.FormName() != "package" {
			continue
		}
		p, err := w.Fleet.Receive(v.Context(), part)
		if err != nil {
			return err
		}
		return v.leave("/packages/"+p.Manifest.Component(), "uploaded")
	}
}

type offerPage struct {
	fleet.Offer
	Runners map[string][]string // devices by version
	Strange []string            // versions that devices have and that there is no package of
	Drawing drawing
}

func (w *Web) showPackages(v *visit) error {
	offer, err := w.Fleet.Offer(v.component())
	if err != nil {
		return err
	}
	devices, err := w.Fleet.Find(v.Context(), "")
	if err != nil {
		return err
	}
	page := offerPage{Offer: offer, Runners: fleet.Runners(devices, offer.Component), Drawing: draw(offer.Graph())}
	for version := range page.Runners {
		if !offers(offer.Packages, version) {
			page.Strange = append(page.Strange, version)
		}
	}
	return v.show("package", offer.Component, page)
}

func offers(packages []*pack.Package, version string) bool {
	for _, p := range packages {
		if p.Manifest.Version == version {
			return true
		}
	}
	return false
}

func (w *Web) withdrawPackage(v *visit) error {
	if err := w.Fleet.Withdraw(v.Context(), v.component(), v.PathValue("version")); err != nil {
		return err
	}
	return v.leave("/packages", "deleted")
}
