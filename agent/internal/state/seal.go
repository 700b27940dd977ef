package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Names inside the directory of a generation.
const (
	filesName = "files"
	sealName  = "seal.json"
)

var (
	// ErrNotSealed marks a generation that is missing or was never completed.
	ErrNotSealed = errors.New("not sealed")
	// ErrDamaged marks a sealed generation whose files are not as sealed.
	ErrDamaged = errors.New("files differ from the seal")
)

// A seal is the content of seal.json.
type seal struct {
	Meta
	Digest string `json:"digest"` // of the tree, see digestTree
}

// readSeal wants exactly what writeSeal wrote. Half a seal cannot be left by a
// crash, so it counts as damage.
func readSeal(dir string) (seal, error) {
	data, err := os.ReadFile(filepath.Join(dir, sealName))
	if errors.Is(err, fs.ErrNotExist) {
		return seal{}, ErrNotSealed
	}
	if err != nil {
		return seal{}, err
	}
	return parseSeal(data)
}

func parseSeal(data []byte) (seal, error) {
	var s seal
	decoder := json.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(&s); err != nil {
		return seal{}, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if s.Digest == "" {
		return seal{}, fmt.Errorf("%w: no digest", ErrDamaged)
	}
	return s, nil
}

func writeSeal(dir string, s seal) error {
	data, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return err
	}
	temp := filepath.Join(dir, sealName+".tmp")
	if err := writeSync(temp, data); err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(dir, sealName)); err != nil {
		return err
	}
	// The parents may be as new as the seal: root/type/name/generation.
	for range 4 {
		if err := syncPath(dir); err != nil {
			return err
		}
		dir = filepath.Dir(dir)
	}
	return nil
}

// unseal makes a generation garbage, durably, before its files change.
func unseal(dir string) error {
	err := os.Remove(filepath.Join(dir, sealName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncPath(dir)
}

func writeSync(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncPath(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// persist makes a tree durable and returns its digest.
func persist(root string) (string, error) { return walk(root, (*os.File).Sync) }

// digestTree hashes names, modes and contents of a tree, in lexical order.
// Times and owners do not count.
func digestTree(root string) (string, error) {
	return walk(root, func(*os.File) error { return nil })
}

func walk(root string, sync func(*os.File) error) (string, error) {
	sum := sha256.New()
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		if !entry.IsDir() && !entry.Type().IsRegular() {
			return fmt.Errorf("%s is neither a file nor a directory", rel)
		}
		return digestEntry(sum, name, rel, sync)
	})
	if err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}

func digestEntry(sum hash.Hash, name, rel string, sync func(*os.File) error) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := int64(0)
	if info.Mode().IsRegular() {
		size = info.Size()
	}
	fmt.Fprintf(sum, "%q %o %t %d\n", rel, info.Mode().Perm(), info.IsDir(), size)
	if info.Mode().IsRegular() {
		if _, err := io.Copy(sum, f); err != nil {
			return err
		}
	}
	return sync(f)
}
