package pack

import (
	"errors"
	"slices"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/settings"
)

// TransformLimits are what one run of a transform needs at most; zero is what
// the device grants, which no package can raise.
type TransformLimits struct {
	Memory int64    `toml:"memory" json:"memory,omitempty"` // bytes
	CPU    Duration `toml:"cpu" json:"cpu,omitempty"`       // processor time
	Wall   Duration `toml:"wall" json:"wall,omitempty"`
	Output int64    `toml:"output" json:"output,omitempty"` // bytes of one result
}

// Ranges of limits, for whoever sets some: an author, an operator, the command
// line. Less than a page of memory no module has; more than a GiB no process of
// 32 bits has room for.
const (
	minMemory = 64 << 10
	maxMemory = 1 << 30
	minTime   = Duration(time.Millisecond)
	maxTime   = Duration(24 * time.Hour)
	minOutput = 1
	maxOutput = MaxArtifactSize
)

// Check wants limits in range: memory from 64 KiB to 1 GiB, times from 1 ms to
// 24 h, output up to 1 TiB. Zero will do as well, but not for those that were
// given.
func (l TransformLimits) Check(given ...string) error {
	size := func(key string, v, low, high int64) error {
		if v == 0 && !slices.Contains(given, key) {
			return nil
		}
		return settings.In(key, settings.Bytes(v, low, high))
	}
	span := func(key string, v Duration) error {
		if v == 0 && !slices.Contains(given, key) {
			return nil
		}
		return settings.In(key, settings.Within(v, minTime, maxTime))
	}
	return errors.Join(
		size("memory", l.Memory, minMemory, maxMemory), span("cpu", l.CPU),
		span("wall", l.Wall), size("output", l.Output, minOutput, maxOutput))
}
