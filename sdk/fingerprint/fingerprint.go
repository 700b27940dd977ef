// Package fingerprint tells whether a part of a file is what it was, several
// times as fast as a SHA-256 does. It is for whoever keeps what it has made of
// large files, and has to find out what of them has changed.
//
// A fingerprint is GMAC (NIST SP 800-38D) with a secret key, block by block:
// who does not know the key can make another content with the same fingerprint
// only by a chance of less than 2^-80. So the key, and the fingerprints, belong
// in files that whoever writes the content cannot read. They prove nothing to
// anybody else: where a content has to be known again elsewhere, or where its
// author may know the key, it takes a digest.
package fingerprint

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"runtime"
	"sync"

	"golang.org/x/sys/cpu"
)

// BlockSize is how many bytes of a content [Printer.Add] takes at a time.
const BlockSize = 128 << 10

// A Key is secret and random.
type Key [16]byte

// NewKey makes one.
func NewKey() (k Key) {
	_, _ = rand.Read(k[:]) // never fails
	return k
}

// MarshalText writes k in hexadecimal.
func (k Key) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, k[:]), nil }

// UnmarshalText reads what MarshalText writes.
func (k *Key) UnmarshalText(text []byte) error { return decode(k[:], text) }

// A Print is a fingerprint. The zero Print is that of nothing.
type Print [16]byte

// MarshalText writes p in hexadecimal.
func (p Print) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, p[:]), nil }

// UnmarshalText reads what MarshalText writes.
func (p *Print) UnmarshalText(text []byte) error { return decode(p[:], text) }

func decode(to, text []byte) error {
	if len(text) != hex.EncodedLen(len(to)) {
		return errors.New("not 16 bytes in hexadecimal")
	}
	_, err := hex.Decode(to, text)
	return err
}

// fast reports whether the processor has what makes GMAC the faster one. Where
// it has not, as in 32 bits, GMAC takes twice as long as SHA-256.
var fast = cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ && runtime.GOARCH == "amd64" || cpu.ARM64.HasAES && cpu.ARM64.HasPMULL

// A Printer takes fingerprints with one key. Several goroutines may use it.
type Printer struct{ gcm cipher.AEAD }

// New returns nil where a fingerprint would take longer than a digest.
func New(k Key) *Printer {
	if !fast {
		return nil
	}
	return newPrinter(k)
}

func newPrinter(k Key) *Printer {
	block, err := aes.NewCipher(k[:])
	if err != nil {
		return nil // keys of this size are good
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil // without it, digests are taken
	}
	return &Printer{gcm}
}

// Add returns the fingerprint of a content from that of all that is before its
// next block. Each block but the last has [BlockSize] bytes.
func (p *Printer) Add(before Print, block []byte) (all Print) {
	// What goes before decides on the mask of this block: equal sums of
	// different blocks stay apart, and so does another order of them.
	p.gcm.Seal(all[:0], before[:p.gcm.NonceSize()], nil, block)
	return all
}

// Of takes the fingerprint of so many bytes of a file, from an offset on. That
// they are not there is an error.
func (p *Printer) Of(r io.ReaderAt, at, size int64) (all Print, err error) {
	buffer := buffers.Get().(*[BlockSize]byte)
	defer buffers.Put(buffer)
	for size > 0 {
		block := buffer[:min(size, BlockSize)]
		if n, err := r.ReadAt(block, at); n < len(block) {
			return Print{}, err
		}
		all = p.Add(all, block)
		at += int64(len(block))
		size -= int64(len(block))
	}
	return all, nil
}

var buffers = sync.Pool{New: func() any { return new([BlockSize]byte) }}
