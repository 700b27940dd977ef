package main

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLwM2MConfig(t *testing.T) {
	for name, test := range map[string]struct{ text, err string }{
		"defaults":              {"", ""},
		"psk":                   {"server = \"coaps://host\"\npsk = \"key\"\nidentity = \"x\"", ""},
		"certificate":           {"server = \"coaps://host\"\ncert = \"c\"\nkey = \"k\"\nroots = \"r\"", ""},
		"tls":                   {"server = \"coaps+tcp://host\"\ncert = \"c\"\nkey = \"k\"\nroots = \"r\"", ""},
		"tls with a psk":        {"server = \"coaps+tcp://host\"\npsk = \"key\"", "knows no psk"},
		"tcp":                   {"server = \"coap+tcp://127.0.0.1\"", ""},
		"tcp with a key":        {"server = \"coap+tcp://127.0.0.1\"\npsk = \"key\"", "write coaps://"},
		"bootstrap":             {"bootstrap = \"coaps://host\"\npsk = \"key\"", ""},
		"bootstrap for nothing": {"bootstrap = \"coap://127.0.0.1\"\nserver = \"coap://127.0.0.1\"", "leave out one"},
		"bootstrap at once":     {"bootstrap = \"coap://127.0.0.1\"\nbootstrap_after = \"0s\"", "below 1s"},
		"nothing for coaps":     {"server = \"coaps://host\"", "needs either psk"},
		"both":                  {"server = \"coaps://host\"\npsk = \"key\"\ncert = \"c\"\nkey = \"k\"\nroots = \"r\"", "needs either psk"},
		"half a certificate":    {"server = \"coaps://host\"\ncert = \"c\"", "belong together"},
		"plaintext with a key":  {"server = \"coap://127.0.0.1\"\npsk = \"key\"", "write coaps://"},
		"identity of nothing":   {"identity = \"x\"", "there is none"},
		"short lifetime":        {"lifetime = \"1s\"", "below 10s"},
	} {
		file := filepath.Join(t.TempDir(), "agent.toml")
		if err := os.WriteFile(file, []byte("endpoint = \"d\"\n[lwm2m]\n"+test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readConfig(file)
		if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%s: %v, want %q", name, err, test.err)
		}
	}
}

func TestPSKFile(t *testing.T) {
	key := bytes.Repeat([]byte{0xfb, 1}, 16)
	text := base64.StdEncoding.EncodeToString(key)
	for name, test := range map[string]struct {
		text string
		mode os.FileMode
		err  string
	}{
		"good":             {text + "\n", 0o600, ""},
		"read-only":        {text, 0o400, ""},
		"for the group":    {text, 0o640, "chmod 600"},
		"for others":       {text, 0o604, "chmod 600"},
		"hexadecimal text": {"0xfb01", 0o600, "not base64"},
		"too short":        {text[:16], 0o600, "not base64 of 16 to 64 bytes"},
		"empty":            {"", 0o600, "not base64"},
		"too long":         {strings.Repeat("A", maxSecret+1), 0o600, "too long"},
	} {
		file := filepath.Join(t.TempDir(), "psk")
		if err := os.WriteFile(file, []byte(test.text), test.mode); err != nil {
			t.Fatal(err)
		}
		got, err := readPSK(file)
		switch {
		case test.err == "" && (err != nil || !bytes.Equal(got, key)):
			t.Errorf("%s: %x, %v", name, got, err)
		case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
			t.Errorf("%s: %v, want %q", name, err, test.err)
		case err != nil && test.text != "" && strings.Contains(err.Error(), strings.TrimSpace(test.text)):
			t.Errorf("%s: the error has the key: %v", name, err)
		}
	}
	if _, err := readPSK(t.TempDir()); err == nil {
		t.Error("a directory is taken for a key")
	}
}
