package trust

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// floors are below what nothing is trusted again. They outlive the cache: who
// can damage that must not be able to go back in time.
type floors struct {
	Serial    int64            `json:"serial"` // counts the times that they were written
	Anchor    string           `json:"anchor"` // digest of the root that the device was given
	Root      int64            `json:"root"`
	Timestamp int64            `json:"timestamp"`
	Snapshot  int64            `json:"snapshot"`
	Targets   map[string]floor `json:"targets"`       // of targets and authors
	Epochs    map[string]int   `json:"epochs"`        // security epoch by component
	Time      time.Time        `json:"time,omitzero"` // when the newest timestamp was made
	Online    []string         `json:"online"`        // keys that snapshot and timestamp were signed with
	Made      time.Time        `json:"-"`             // when this program was built
	Twice     bool             `json:"-"`             // both records are there, and the same
}

// A floor is that of a role whose keys may be replaced.
type floor struct {
	Version   int64    `json:"version"`
	Keys      []string `json:"keys"` // that could sign it
	Threshold int      `json:"threshold"`
}

// under is the version that counts for the keys of today: none if as many are
// gone as could sign alone, since who has stolen these may have signed the highest
// version that there is.
func (f floor) under(keys []string) int64 {
	gone := 0
	for _, id := range f.Keys {
		if !slices.Contains(keys, id) {
			gone++
		}
	}
	if gone > 0 && gone >= f.Threshold {
		return 0
	}
	return f.Version
}

// time is the latest that is known to be past.
func (f floors) time() time.Time {
	if f.Made.After(f.Time) {
		return f.Made
	}
	return f.Time
}

// epochs are what stays when all else was replaced.
func (f floors) epochs() floors {
	return floors{Serial: f.Serial, Epochs: f.Epochs, Targets: map[string]floor{}, Made: f.Made}
}

// reset forgets what online keys have signed, which have been replaced: a thief
// may have signed versions and times far ahead (TUF section 5.3.11).
func (f *floors) reset() { f.Timestamp, f.Snapshot, f.Time = 0, 0, time.Time{} }

// raise refuses a version below a floor, which it becomes.
func raise(floor *int64, role string, version int64) error {
	if version < *floor {
		return fmt.Errorf("%s version %d, after %d: %w", role, version, *floor, ErrRollback)
	}
	*floor = version
	return nil
}

// sealed is what a file of floors holds.
type sealed struct {
	Sum    string          `json:"sha256"`
	Floors json.RawMessage `json:"floors"`
}

// floorFiles are two, so that each can be lost.
func floorFiles(dir string) [2]string {
	return [2]string{filepath.Join(dir, "floors.0"), filepath.Join(dir, "floors.1")}
}

// readFloors returns the newer of the two records. If both are damaged nothing
// is left but what the cache tells.
func readFloors(dir string, log *slog.Logger) (best floors) {
	var serials []int64
	for _, path := range floorFiles(dir) {
		f, err := readFloor(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			log.Error("a record of what was trusted is damaged", "file", path, "error", err)
			continue
		case f.Serial >= best.Serial:
			best = f
		}
		serials = append(serials, f.Serial)
	}
	best.Twice = len(serials) == 2 && serials[0] == serials[1]
	if best.Targets == nil {
		best.Targets = map[string]floor{}
	}
	if best.Epochs == nil {
		best.Epochs = map[string]int{}
	}
	best.Made = built()
	return best
}

func readFloor(path string) (f floors, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return f, err
	}
	var s sealed
	if err := json.Unmarshal(b, &s); err != nil {
		return f, err
	}
	if sum := sha256.Sum256(s.Floors); hex.EncodeToString(sum[:]) != s.Sum {
		return f, errors.New("checksum does not match")
	}
	return f, json.Unmarshal(s.Floors, &f)
}

// write writes both records, one after the other.
func (f *floors) write(dir string, log *slog.Logger) error {
	f.Serial++
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	if b, err = json.Marshal(sealed{hex.EncodeToString(sum[:]), b}); err != nil {
		return err
	}
	for _, path := range floorFiles(dir) {
		if err := put(path, b, log); err != nil {
			return fmt.Errorf("cannot note what is trusted: %w", err)
		}
	}
	return nil
}

// differ tells whether g is to be written, of which f is on the disk.
func (f floors) differ(g floors) bool {
	a, _ := json.Marshal(f)
	b, _ := json.Marshal(g)
	return !f.Twice || !bytes.Equal(a, b)
}
