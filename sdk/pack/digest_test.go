package pack

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestVerifyReader(t *testing.T) {
	d := Descriptor{Digest: DigestOf([]byte("content")), Size: 7}
	for name, test := range map[string]struct {
		content string
		d       Descriptor
		whole   bool
	}{
		"whole":         {"content", d, true},
		"other":         {"Content", d, false},
		"short":         {"conten", d, false},
		"long":          {"contents", d, false},
		"empty":         {"", d, false},
		"negative size": {"", Descriptor{Digest: DigestOf(nil), Size: -1}, false},
		"empty blob":    {"", Descriptor{Digest: DigestOf(nil)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, r := range []io.Reader{
				strings.NewReader(test.content),
				iotest.OneByteReader(strings.NewReader(test.content)),
				iotest.DataErrReader(strings.NewReader(test.content)),
			} {
				got, err := io.ReadAll(NewVerifyReader(r, test.d))
				if test.whole != (err == nil) || err != nil && !errors.Is(err, ErrDigest) {
					t.Errorf("got error %v", err)
				}
				if int64(len(got)) > max(0, test.d.Size) {
					t.Errorf("passed on %d bytes of %d", len(got), test.d.Size)
				}
			}
		})
	}
}

func TestVerifyReaderPassesErrorsOn(t *testing.T) {
	broken := errors.New("broken")
	r := io.MultiReader(strings.NewReader("con"), iotest.ErrReader(broken))
	if _, err := io.ReadAll(NewVerifyReader(r, Descriptor{Digest: DigestOf(nil), Size: 7})); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestCheckDigest(t *testing.T) {
	good := DigestOf(nil)
	if err := CheckDigest(good); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "sha256:", good[7:], good + "0", strings.ToUpper(good), "sha512" + good[6:], good[:70] + "/"} {
		if CheckDigest(bad) == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
