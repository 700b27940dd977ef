package service

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"
)

// DefaultGrace is the time between asking a component to end and force, for
// versions that name none.
const DefaultGrace = 10 * time.Second

// Duration is a time.Duration written as in "5s".
type Duration time.Duration

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// MarshalText writes d as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Read reads the settings of a version that was staged, as far as they are known.
func Read(data []byte, settings any) error { return json.Unmarshal(data, settings) }

// Decode reads settings and refuses what it does not know: a
// misspelt name must not show only when the component runs.
func Decode(data []byte, settings any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(settings); err != nil {
		return err
	}
	if _, more := decoder.Token(); more != io.EOF {
		return errors.New("something follows the JSON object")
	}
	return nil
}

// CheckCommand refuses what is no program with arguments.
func CheckCommand(field string, command []string) error {
	if len(command) == 0 || command[0] == "" {
		return fmt.Errorf("%s is empty: name the program to run", field)
	}
	if strings.Contains(strings.Join(command, ""), "\x00") {
		return fmt.Errorf("%s has a zero byte", field)
	}
	return nil
}

// CheckEnv refuses what is no variable, and those that Tranquil sets.
func CheckEnv(env map[string]string) error {
	for key, value := range env {
		if key == "" || strings.ContainsAny(key, "=\x00") || strings.Contains(value, "\x00") {
			return fmt.Errorf("env %q is no valid variable", key)
		}
		if strings.HasPrefix(key, "TRANQUIL_") {
			return fmt.Errorf("env %q: names with TRANQUIL_ are reserved", key)
		}
	}
	return nil
}

// CheckGrace refuses a time that has passed before it begins.
func CheckGrace(grace Duration) error {
	if grace < 0 {
		return fmt.Errorf("grace is negative: %v", time.Duration(grace))
	}
	return nil
}

// CheckHTTP refuses what is neither a path on the control socket nor an URL.
func CheckHTTP(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return fmt.Errorf("health.http: %w", err)
	}
	onSocket := u.Scheme == "" && u.Host == "" && strings.HasPrefix(text, "/")
	if !onSocket && (u.Scheme != "http" || u.Host == "") {
		return fmt.Errorf("health.http %q is neither a path nor an http:// URL", text)
	}
	return nil
}
