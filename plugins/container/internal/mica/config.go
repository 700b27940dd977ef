package mica

import (
	"fmt"
	"os"
	"strings"

	"github.com/tranquil-iot/tranquil/plugins/internal/service"
)

// File is where the operator writes that this device's containers are those of a
// MICA's Base OS, as a JSON object.
const File = "/etc/tranquil/mica.json"

// file is what it may have.
type file struct {
	URL          string  `json:"url,omitempty"`          // default: wss://mica/ws/
	User         string  `json:"user,omitempty"`         // none in a container of the MICA itself
	PasswordFile string  `json:"passwordFile,omitempty"` // with the user's password, which nobody else may read
	Pin          string  `json:"pin,omitempty"`          // of the Base OS's key, see Config
	Methods      Methods `json:"methods,omitempty"`      // in place of the assumed ones
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
	c.URL, c.User, c.Pin = f.URL, f.User, f.Pin
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

// Settings are what the component manifest's "settings" hold on a MICA: its
// containers bring their own command and configuration in the image.
type Settings struct {
	State  string           `json:"state,omitempty"`  // directory of the container that it must not lose; none: it has no state
	Health string           `json:"health,omitempty"` // path on the container's pages, as the Base OS passes them on; 2xx is well
	Grace  service.Duration `json:"grace,omitempty"`  // default 10s
}

func parseSettings(data []byte) (Settings, error) {
	s := Settings{Grace: service.Duration(service.DefaultGrace)}
	if len(data) == 0 {
		data = []byte("{}")
	}
	err := service.Decode(data, &s)
	switch {
	case err != nil:
	case s.State != "" && (!strings.HasPrefix(s.State, "/") || strings.Contains(s.State, "..") || s.State == "/"):
		err = fmt.Errorf("state %q is no directory of the container", s.State)
	case s.Health != "" && !strings.HasPrefix(s.Health, "/"):
		err = fmt.Errorf("health %q is no path", s.Health)
	default:
		err = service.CheckGrace(s.Grace)
	}
	if err != nil {
		return s, fmt.Errorf("bad container settings: %w", err)
	}
	return s, nil
}
