package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/tranquil-iot/tranquil/plugins/internal/service"
	"github.com/tranquil-iot/tranquil/sdk/durable"
)

// slotFile is where a home keeps the number of its container's slot.
const slotFile = "slot"

var slots sync.Mutex // one container at a time looks for its own

// slot gives each container numbers of its own, which it keeps: its name says
// which, and if another container has these already, the next that are free.
func slot(h service.Home) (int, error) {
	slots.Lock()
	defer slots.Unlock()
	files, err := filepath.Glob(filepath.Join(filepath.Dir(h.Dir), "*", slotFile))
	if err != nil {
		return 0, err
	}
	taken, own := map[int]bool{}, h.Path(slotFile)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		n, err := strconv.Atoi(string(data))
		if err != nil || n < 0 || n >= idSlots {
			return 0, fmt.Errorf("%s is damaged: remove it", file)
		}
		if file == own {
			return n, nil
		}
		taken[n] = true
	}
	if len(taken) == idSlots {
		return 0, errors.New("there are too many containers")
	}
	n := preferred(name(h))
	for taken[n] {
		n = (n + 1) % idSlots
	}
	return n, durable.WriteFile(own, []byte(strconv.Itoa(n)), 0o600)
}

func preferred(name string) (n int) {
	for _, c := range []byte(name) {
		n = (n*31 + int(c)) % idSlots
	}
	return n
}
