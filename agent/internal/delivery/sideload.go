package delivery

import (
	"io"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// sideloaded stands for the number of a delivery: those of servers count from 1.
const sideloaded = 0

// Sideload takes a package that somebody has brought to the device, in its
// single-file form, into the content store, where it stays until [Desk.Release].
// Permit may refuse it before its layers are read. No server hears of it: that is not
// for the standard objects, and a delivery of theirs goes on beside it.
func (k *Desk) Sideload(component string, r io.Reader, permit func(*pack.Package) error) (*pack.Package, error) {
	return k.take(component, sideloaded, r, func(p *pack.Package) ([]pack.Descriptor, error) {
		_, needed, err := k.fits(component, sideloaded, p.Digest)
		if err == nil {
			err = permit(p)
		}
		return needed, err
	})
}

// Release lets go of what was brought, when it is installed or will not be.
func (k *Desk) Release(component string) { k.release(component, sideloaded) }
