package mica

import (
	"fmt"
	"strings"

	"github.com/tranquil-iot/tranquil/plugins/internal/service"
)

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
