package self

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/tranquil-iot/tranquil/sdk/durable"
)

// sumsName is the file in a version's directory with the SHA-256 of all others, in
// hex, by their paths in it: what a disk has spoiled must not be taken for the agent.
const sumsName = ".sums.json"

func seal(dir string) error {
	sums := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err == nil && name != sumsName {
			sums[name], err = sumOf(path)
		}
		return err
	})
	if err != nil {
		return err
	}
	data, err := json.Marshal(sums)
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, sumsName), data, 0o600)
}

func sumOf(name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, file)
	return hex.EncodeToString(hash.Sum(nil)), err
}

func readSums(dir string) (sums map[string]string, err error) {
	data, err := os.ReadFile(filepath.Join(dir, sumsName))
	if err == nil {
		err = json.Unmarshal(data, &sums)
	}
	return sums, err
}

// Intact returns nil if a program of a version is what was staged, or if nobody knows:
// those that were installed with the device have no sums.
func Intact(program string) error {
	sums, err := readSums(filepath.Dir(program))
	want, known := sums[filepath.Base(program)]
	if err != nil || !known {
		return nil
	}
	got, err := sumOf(program)
	if err == nil && got != want {
		err = fmt.Errorf("%s is damaged: it is not what was staged", program)
	}
	return err
}

// Damaged lists what is not as it was staged of the version of the agent that is to run.
func Damaged(dir string) (names []string, err error) {
	n, err := readNote(dir)
	if err != nil || n.Current == "" {
		return nil, err
	}
	return damaged(versionDir(dir, n.Current))
}

// damaged reads all of a version, which is some seconds' work.
func damaged(version string) (names []string, err error) {
	sums, err := readSums(version)
	switch {
	case errors.Is(err, fs.ErrNotExist): // an agent before this one has staged it
		return nil, nil
	case err != nil:
		return []string{sumsName}, nil
	}
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		if got, err := sumOf(filepath.Join(version, name)); err != nil || got != sums[name] {
			names = append(names, name)
		}
	}
	return names, nil
}

// mend puts the files of a version in place again, each at once: they may be running.
func mend(half, version string) error {
	sums, err := readSums(half)
	if err != nil {
		return err
	}
	for _, name := range append(slices.Sorted(maps.Keys(sums)), sumsName) {
		to := filepath.Join(version, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(half, name), to); err != nil {
			return err
		}
		if err := durable.Sync(filepath.Dir(to)); err != nil {
			return err
		}
	}
	return os.RemoveAll(half)
}
