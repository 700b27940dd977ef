package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tranquil-iot/tranquil/sdk/durable"
)

// An image is all that a store holds.
type image struct {
	Serial  uint64                     `json:"serial"` // how often the store was written to
	Content map[string]json.RawMessage `json:"content"`
}

// encode puts the checksum of the rest into the first line.
func (i image) encode() ([]byte, error) {
	body, err := json.Marshal(i)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s\n%s", checksum(body), body), nil
}

var errCopy = errors.New("the checksum does not match")

func decode(b []byte) (image, error) {
	sum, body, _ := bytes.Cut(b, []byte("\n"))
	if string(sum) != checksum(body) {
		return image{}, errCopy
	}
	i := image{Content: map[string]json.RawMessage{}}
	return i, json.Unmarshal(body, &i)
}

func checksum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// copies are the two files of which one is always whole.
type copies [2]string

func copiesOf(dir string) copies { return copies{dir + ".copy-0", dir + ".copy-1"} }

// newest returns the newest copy that is whole, and what is wrong with the
// others.
func (c copies) newest() (newest image, fault error) {
	for _, path := range c {
		b, err := os.ReadFile(path)
		var i image
		if err == nil {
			i, err = decode(b)
		}
		if err != nil {
			fault = errors.Join(fault, fmt.Errorf("copy %s: %w", filepath.Base(path), err))
		} else if i.Serial >= newest.Serial {
			newest = i
		}
	}
	if newest.Serial <= 1 && errors.Is(fault, os.ErrNotExist) {
		return newest, nil // they have not both been written yet
	}
	return newest, fault
}

// write replaces the older copy, in place: the newer one stays whole
// meanwhile, and one fsync is enough.
func (c copies) write(i image) error {
	b, err := i.encode()
	if err != nil {
		return fmt.Errorf("cannot write copy of the store: %w", err)
	}
	path := c[i.Serial%2]
	_, missing := os.Stat(path)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err == nil {
		_, err = f.Write(b)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err == nil && missing != nil {
		err = durable.Sync(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("cannot write copy of the store: %w", err)
	}
	return nil
}
