package mica

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tranquil-iot/tranquil/plugins/internal/service"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// File is where the operator writes that this device is a MICA, whose Base OS is asked
// for what concerns containers and firmware, as a JSON object.
const File = "/etc/tranquil/mica.json"

// file is what it may have.
type file struct {
	URL          string  `json:"url,omitempty"`          // default: wss://mica/ws/
	User         string  `json:"user,omitempty"`         // none in a container of the MICA itself
	PasswordFile string  `json:"passwordFile,omitempty"` // with the user's password, which nobody else may read
	Pin          string  `json:"pin,omitempty"`          // of the Base OS's key, see Config
	Methods      Methods `json:"methods,omitempty"`      // in place of the assumed ones
	Reboot       bool    `json:"reboot,omitempty"`       // updates of the firmware may reboot the device
	Factory      string  `json:"factory,omitempty"`      // file with the image of the firmware that the device came with, to go back to
}

func readFile(name string) (c Config, m Methods, err error) {
	var f file
	data, err := os.ReadFile(name)
	if err == nil {
		err = service.Decode(data, &f)
	}
	if err == nil {
		m, err = Assumed.with(f.Methods)
	}
	if err == nil && f.PasswordFile != "" {
		c.Password, err = password(f.PasswordFile)
	}
	if err != nil {
		return c, nil, fmt.Errorf("cannot read how to reach the Base OS: %s: %w", name, err)
	}
	c.URL, c.User, c.Pin, c.Reboot, c.Factory = f.URL, f.User, f.Pin, f.Reboot, f.Factory
	return c, m, nil
}

func password(name string) (string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s can be read by others: chmod 600 it", name)
	}
	data, err := os.ReadFile(name)
	return strings.TrimRight(string(data), "\r\n"), err
}

// Open returns the Base OS that a configuration tells of.
func Open(file string) (*Base, error) {
	config, methods, err := readFile(file)
	if err != nil {
		return nil, err
	}
	b, err := New(config)
	if err == nil {
		b.methods = methods
	}
	return b, err
}

// A Maker makes an updater that has a Base OS do what it is asked for.
type Maker func(*Base, updater.Environment) updater.Updater

// Open returns what makes an updater with the configuration in a file.
func (m Maker) Open(file string) updater.Open {
	return func(env updater.Environment) (updater.Updater, error) {
		base, err := Open(file)
		if err != nil {
			return nil, err
		}
		return m(base, env), nil
	}
}

// Or returns what makes an updater for a MICA on a device that is configured to be one,
// by [File] or a file of that name in the updater's data directory, and otherwise
// another one.
func Or(m Maker, other updater.Open) updater.Open {
	return func(env updater.Environment) (updater.Updater, error) {
		for _, file := range []string{filepath.Join(env.Data, filepath.Base(File)), File} {
			if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
				return m.Open(file)(env)
			}
		}
		return other(env)
	}
}

// Retry says that asking again may help where nobody answered.
// nil stays nil.
func Retry(err error) error {
	if errors.Is(err, ErrLost) {
		return fmt.Errorf("%w: %w", updater.ErrRetry, err)
	}
	return err
}
