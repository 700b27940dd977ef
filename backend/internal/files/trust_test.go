package files

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/trust"
	"github.com/tranquil-iot/tranquil/sdk/trust/trusttest"
)

// An operator has the offline keys.
type operator struct {
	t          *testing.T
	server     *Server
	root, rest trust.Key // rest signs targets, and is the author's
	dir        *trust.Repository
}

func begin(t *testing.T, s *Server) *operator {
	t.Helper()
	o := &operator{t: t, server: s}
	var err error
	if o.root, err = trust.NewKey(); err == nil {
		o.rest, err = trust.NewKey()
	}
	if err != nil {
		t.Fatal(err)
	}
	if o.dir, err = trust.OpenRepository(t.TempDir(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	_, b := get(t, s, "/trust/online.pub")
	online, err := trust.DecodePublicKey(b)
	if err != nil {
		t.Fatal(err)
	}
	files, err := trust.Found(trust.Founding{
		Root: []crypto.PublicKey{o.root.Public()}, Threshold: 1, Targets: o.rest.Public(), Online: online,
	}, []trust.Key{o.root, o.rest}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	o.publish(files...)
	o.amend("alice", trust.Change{Add: []crypto.PublicKey{o.rest.Public()}, Component: []string{component}})
	return o
}

func (o *operator) publish(files ...trust.Signed) {
	o.t.Helper()
	for _, f := range files {
		if err := o.dir.Add(f.Name, f.Data); err != nil {
			o.t.Fatal(err)
		}
		if status := o.put(f.Name, f.Data); status != http.StatusCreated {
			o.t.Fatalf("%s: %d", f.Name, status)
		}
	}
}

func (o *operator) put(name string, b []byte) int {
	o.t.Helper()
	resp, _ := do(o.t, http.MethodPut, o.server, "/trust/"+name, bytes.NewReader(b), "Authorization", "Bearer "+token)
	return resp.StatusCode
}

func (o *operator) amend(role string, c trust.Change) {
	o.t.Helper()
	f, err := o.dir.Amend(role, c, []trust.Key{o.root, o.rest}, time.Now())
	if err != nil {
		o.t.Fatal(err)
	}
	o.publish(f)
}

// device asks over HTTP or CoAP.
func (o *operator) device(overCoAP bool) *trust.Client {
	o.t.Helper()
	fetch := func(_ context.Context, name string, _ int64) ([]byte, error) {
		resp, b := get(o.t, o.server, "/trust/"+name)
		if resp.StatusCode == http.StatusNotFound {
			return nil, trust.ErrNotFound
		}
		if overCoAP {
			b = dial(o.t, o.server).get(o.t, "/trust/"+name)
		}
		return b, nil
	}
	root, err := o.dir.Read("1.root.json")
	if err != nil {
		o.t.Fatal(err)
	}
	c, err := trust.Open(trust.Config{Dir: o.t.TempDir(), Root: root, Fetch: fetch})
	if err != nil {
		o.t.Fatal(err)
	}
	return c
}

func (o *operator) endorse(p trust.Package) {
	o.t.Helper()
	a, err := o.device(false).Author(o.t.Context(), p.Component)
	if err != nil {
		o.t.Fatal(err)
	}
	f, err := trust.Endorse(a, []trust.Package{p}, []trust.Key{o.rest}, time.Now())
	if err != nil {
		o.t.Fatal(err)
	}
	o.publish(f)
}

// What people publish is served at once, with a snapshot and a timestamp of the
// server's own, over both protocols and after a restart.
func TestTrust(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	if resp, _ := get(t, s, "/trust/timestamp.json"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("before there is a root: %s", resp.Status)
	}
	o := begin(t, s)
	p := trust.Of(mustPush(t, s, variation{version: "1.0.0"}))
	o.endorse(p)
	for range 2 {
		for _, overCoAP := range []bool{false, true} {
			if _, err := o.device(overCoAP).Verify(t.Context(), p); err != nil {
				t.Errorf("over CoAP %v: %v", overCoAP, err)
			}
		}
		o.server = start(t, dir)
	}
	resp, b := get(t, o.server, "/trust/status")
	var standings []trust.Standing
	if err := json.Unmarshal(b, &standings); err != nil || len(standings) != 5 {
		t.Errorf("status %s, %v", b, err)
	}
	if resp.Header.Get("Cache-Control") != "no-cache" {
		t.Error("what is between may keep the status")
	}
	info, err := os.Stat(dir + ".trust/online.key")
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("online key: %v, %v", info, err)
	}
}

func TestTrustRefuses(t *testing.T) {
	s := start(t, t.TempDir())
	o := begin(t, s)
	root, err := o.dir.Read("1.root.json")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, file string
		data       string
		want       int
	}{
		{"the same again", "1.root.json", string(root), 201},
		{"another one", "1.root.json", string(root) + " ", 409},
		{"a version that is not the next", "9.root.json", string(root), 409},
		{"what is signed by no author", "1.alice.json", `{"signed": {"_type": "targets", "spec_version": "1.0.31", "version": 1, "expires": "2199-01-01T00:00:00Z", "targets": {}}, "signatures": []}`, 403},
		{"a timestamp", "timestamp.json", "{}", 400},
		{"no metadata", "2.root.json", "null", 400},
		{"a path", "..%2f..%2fonline.key", "null", 400},
		{"too much", "2.root.json", strings.Repeat(" ", trust.MaxSize+1), 413},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := o.put(test.file, []byte(test.data)); got != test.want {
				t.Errorf("%d, want %d", got, test.want)
			}
		})
	}
	for _, path := range []string{"/trust/online.key", "/trust/..%2fonline.key", "/trust/2.root.json"} {
		if resp, _ := get(t, s, path); resp.StatusCode != 404 {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	if resp, _ := do(t, http.MethodPut, s, "/trust/2.root.json", bytes.NewReader(root)); resp.StatusCode != 401 {
		t.Errorf("without a token: %s", resp.Status)
	}
}

// The server signs again in time, and tells people what only they can do, once a
// day; a server that must not sign says so.
func TestTrustAlarm(t *testing.T) {
	o := begin(t, start(t, t.TempDir()))
	var log bytes.Buffer
	v := o.server.trust
	v = &vouching{repository: v.repository, path: v.path, key: v.key, log: slog.New(slog.NewTextHandler(&log, nil)), said: tellings{}}
	alarms := func(at time.Time) int {
		log.Reset()
		v.look(at)
		return strings.Count(log.String(), "needs somebody")
	}
	now := time.Now()
	if n := alarms(now.Add(trust.TimestampGood * 3 / 4)); n != 0 || !strings.Contains(log.String(), "timestamp signed") {
		t.Errorf("%d alarms, %s", n, log.String())
	}
	soon := now.Add(trust.OfflineValidity - 10*24*time.Hour)
	if n := alarms(soon); n != 2 || !strings.Contains(log.String(), "role=root") || !strings.Contains(log.String(), "expires in 9 days") {
		t.Errorf("%d alarms, %s", n, log.String())
	}
	if n := alarms(soon.Add(alarmCheck)); n != 0 {
		t.Errorf("%d alarms at once again", n)
	}
	if n := alarms(soon.Add(alarmAgain)); n != 2 {
		t.Errorf("%d alarms a day later", n)
	}
	other, err := trust.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	v.key = other
	alarms(soon.Add(trust.SnapshotGood))
	if !strings.Contains(log.String(), "tranquil trust rotate DIR online") {
		t.Errorf("a key that nobody knows: %s", log.String())
	}
}

// TestOnlineKeyInAModule: snapshot and timestamp are signed by a security module; while
// that is gone, what was signed is served, and the server says what is wrong.
func TestOnlineKeyInAModule(t *testing.T) {
	uri := trusttest.Module(t)
	dir := t.TempDir()
	in := func(uri string) func(*Config) { return func(c *Config) { c.OnlineKey = uri } }
	o := begin(t, start(t, dir, in(uri)))
	p := trust.Of(mustPush(t, o.server, variation{version: "1.0.0"}))
	o.endorse(p)
	if _, err := o.device(false).Verify(t.Context(), p); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir + ".trust/online.key"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a key file: %v", err)
	}
	o.server = start(t, dir, in(strings.Replace(uri, "token=company", "token=gone", 1)))
	if _, err := o.device(false).Verify(t.Context(), p); err != nil {
		t.Error(err)
	}
	if problem := o.problem(trust.Timestamp); !strings.Contains(problem, "name another key (online_key)") {
		t.Errorf("problem %q", problem)
	}
}

// A server whose key cannot be used goes on to serve packages and what was signed,
// says what is wrong, and signs again when the key is mended.
func TestOnlineKey(t *testing.T) {
	dir := t.TempDir()
	o := begin(t, start(t, dir))
	_, public := get(t, o.server, "/trust/online.pub")
	p := trust.Of(mustPush(t, o.server, variation{version: "1.0.0"}))
	o.endorse(p)
	path := dir + ".trust/online.key"
	key, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func() error{
		"others can read it": func() error { return os.Chmod(path, 0o640) },
		"empty":              func() error { return os.Truncate(path, 0) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		o.server = start(t, dir)
		if _, err := o.device(false).Verify(t.Context(), p); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if problem := o.problem(trust.Timestamp); !strings.Contains(problem, "cannot use the file server's key") {
			t.Errorf("%s: problem %q", name, problem)
		}
		if resp, _ := get(t, o.server, "/trust/online.pub"); resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: public key %s", name, resp.Status)
		}
		if err := errors.Join(os.WriteFile(path, key, 0o600), os.Chmod(path, 0o600)); err != nil {
			t.Fatal(err)
		}
		_ = o.server.trust.refresh(time.Now())
		if problem := o.problem(trust.Timestamp); problem != "" {
			t.Errorf("%s, and mended: problem %q", name, problem)
		}
		if _, again := get(t, o.server, "/trust/online.pub"); !bytes.Equal(again, public) {
			t.Errorf("%s: another key", name)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	o.server = start(t, dir)
	_ = o.server.trust.refresh(time.Now())
	if problem := o.problem(trust.Timestamp); !strings.Contains(problem, "tranquil trust rotate DIR online") {
		t.Errorf("another key that the root does not name: problem %q", problem)
	}
}

// problem is what the status says of a role.
func (o *operator) problem(role string) string {
	o.t.Helper()
	_, b := get(o.t, o.server, "/trust/status")
	var all []trust.Standing
	if err := json.Unmarshal(b, &all); err != nil {
		o.t.Fatal(err)
	}
	for _, s := range all {
		if s.Role == role {
			return s.Problem
		}
	}
	o.t.Fatalf("nothing is said of %s", role)
	return ""
}

// A server that has lost an author's newest list does not go back to the one
// before, and says so until it has that again.
func TestLostList(t *testing.T) {
	dir := t.TempDir()
	o := begin(t, start(t, dir))
	first := trust.Of(mustPush(t, o.server, variation{version: "1.0.0"}))
	o.endorse(first)
	o.endorse(trust.Of(mustPush(t, o.server, variation{version: "2.0.0"})))
	path := filepath.Join(dir+".trust", "metadata", "2.alice.json")
	lost, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	device := o.device(false)
	for name, damage := range map[string]func() error{"empty": func() error { return os.Truncate(path, 0) }, "gone": func() error { return os.Remove(path) }} {
		for _, restart := range []bool{true, false} {
			if err := damage(); err != nil {
				t.Fatal(err)
			}
			if restart {
				o.server = start(t, dir)
			}
			_ = o.server.trust.refresh(time.Now())
			if problem := o.problem("alice"); !strings.Contains(problem, "2.alice.json is lost or damaged") {
				t.Errorf("%s, restarted %v: problem %q", name, restart, problem)
			}
			if _, err := o.device(false).Verify(t.Context(), first); err == nil {
				t.Errorf("%s, restarted %v: the list before is shown again", name, restart)
			}
			if status := o.put("2.alice.json", append(lost, ' ')); status != http.StatusConflict {
				t.Errorf("%s, restarted %v: another one of that version: %d", name, restart, status)
			}
			if status := o.put("2.alice.json", lost); status != http.StatusCreated || o.problem("alice") != "" {
				t.Errorf("%s, restarted %v: published again: %d, %q", name, restart, status, o.problem("alice"))
			}
			if _, err := device.Verify(t.Context(), first); err != nil {
				t.Errorf("%s, restarted %v: %v", name, restart, err)
			}
		}
	}
}

// TestCheckSigned: a check offers the newest version that the author stands by, whatever
// else was pushed.
func TestCheckSigned(t *testing.T) {
	s := start(t, t.TempDir())
	o := begin(t, s)
	var packages []trust.Package
	for _, version := range []string{"1.0.0", "2.0.0", "3.0.0"} {
		packages = append(packages, trust.Of(mustPush(t, s, variation{version: version, arch: "amd64", body: version})))
	}
	id, err := trust.KeyID(o.rest.Public())
	if err != nil {
		t.Fatal(err)
	}
	endorse := func(version int64, signed ...trust.Package) {
		t.Helper()
		f, err := trust.Endorse(trust.Author{Name: "alice", Keys: []string{id}, Threshold: 1, Version: version}, signed, []trust.Key{o.rest}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		o.publish(f)
	}
	expect := func(when, want string) {
		t.Helper()
		resp, b := get(t, s, "/check/"+component+"?current=1.0.0&os=linux&arch=amd64")
		got := ""
		if resp.StatusCode == http.StatusOK {
			got = versionIn(t, b)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	expect("nobody has signed for anything", "")
	endorse(0, packages[:2]...)
	expect("the newest has no signature", "2.0.0")
	endorse(1, packages...)
	expect("all have", "3.0.0")
	endorse(2, packages[0], packages[1])
	expect("the newest was withdrawn", "2.0.0")
}
