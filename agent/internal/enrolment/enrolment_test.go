package enrolment

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tranquil-iot/tranquil/sdk/enrol"
)

var granted = enrol.Grant{Device: "d", Server: "coaps://h:5684", Key: make([]byte, 32), Files: "coaps://h:5685", Root: []byte(`{"signed":{}}`)}

// backend answers as it is told, by one of the authorities of the test.
func backend(t *testing.T, answer func(w http.ResponseWriter, r enrol.Request)) enrol.Invitation {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in enrol.Request
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.URL.Path != enrol.Path || r.Method != http.MethodPost {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		answer(w, in)
	}))
	t.Cleanup(s.Close)
	sum := sha256.Sum256(s.Certificate().Raw)
	return enrol.Invitation{Host: strings.TrimPrefix(s.URL, "https://"), Token: "token", Authority: sum[:]}
}

func give(w http.ResponseWriter, g any) { json.NewEncoder(w).Encode(g) }

func TestAsk(t *testing.T) {
	t.Parallel()
	var times atomic.Int32
	i := backend(t, func(w http.ResponseWriter, r enrol.Request) {
		if times.Add(1) == 1 {
			panic(http.ErrAbortHandler) // the answer is lost
		}
		if diff := cmp.Diff(enrol.Request{Token: "token", Claim: "claim", Version: "1.0"}, r); diff != "" {
			t.Error(diff)
		}
		give(w, granted)
	})
	got, err := Ask(t.Context(), i, "claim", "1.0")
	if diff := cmp.Diff(granted, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

// What does not help is not tried again.
func TestRefused(t *testing.T) {
	t.Parallel()
	other := backend(t, func(http.ResponseWriter, enrol.Request) {})
	for want, test := range map[string]struct {
		answer func(w http.ResponseWriter, r enrol.Request)
		change func(i *enrol.Invitation)
	}{
		"the backend refuses: it has expired": {func(w http.ResponseWriter, _ enrol.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			give(w, map[string]string{"title": "Unauthorized", "detail": "it has expired"})
		}, nil},
		"the backend refuses: 404 Not Found": {func(w http.ResponseWriter, _ enrol.Request) { http.Error(w, "no", http.StatusNotFound) }, nil},
		"the backend refuses: 302 Found":     {func(w http.ResponseWriter, _ enrol.Request) { w.WriteHeader(http.StatusFound) }, nil},
		"cannot read the backend's answer":   {func(w http.ResponseWriter, _ enrol.Request) { give(w, []int{1}) }, nil},
		"does not say which device": {func(w http.ResponseWriter, _ enrol.Request) {
			give(w, enrol.Grant{Server: "coaps://h", Files: "coaps://h"})
		}, nil},
		"by another authority": {func(w http.ResponseWriter, _ enrol.Request) { give(w, granted) }, func(i *enrol.Invitation) {
			i.Authority = make([]byte, 32)
		}},
	} {
		i := backend(t, test.answer)
		if test.change != nil {
			test.change(&i)
		}
		if _, err := Ask(t.Context(), i, "claim", "1.0"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	other.Authority = nil // which is no authority that all trust
	if _, err := Ask(ctx, other, "claim", "1.0"); err == nil {
		t.Error("a certificate of nobody is taken")
	}
}

// Whatever was there before counts until the new configuration is found good.
func TestWrite(t *testing.T) {
	t.Parallel()
	folder := Folder(t.TempDir())
	good := func(string) error { return nil }
	if err := folder.Write(granted, good); err != nil {
		t.Fatal(err)
	}
	files := func() (names []string) {
		found, _ := filepath.Glob(filepath.Join(string(folder), "*", "*"))
		for _, f := range found {
			info, err := os.Stat(f)
			if err != nil || filepath.Base(filepath.Dir(f)) == "enrolment" && info.Mode().Perm() != 0o600 {
				t.Errorf("%s has %v", f, info.Mode())
			}
			names = append(names, f)
		}
		return names
	}
	first := files()
	text, err := os.ReadFile(folder.Config())
	if err != nil || len(first) != 3 || !strings.Contains(string(text), first[1]) || !strings.Contains(string(text), first[2]) {
		t.Errorf("%v, %v:\n%s", err, first, text)
	}
	wrong := errors.New("wrong")
	moved := granted
	moved.Key, moved.Root = make([]byte, 16), nil
	err = folder.Write(moved, func(candidate string) error {
		if _, err := os.Stat(candidate); err != nil || candidate == folder.Config() {
			t.Error(candidate, err)
		}
		return wrong
	})
	if now, _ := os.ReadFile(folder.Config()); !errors.Is(err, wrong) || string(now) != string(text) {
		t.Errorf("%v:\n%s", err, now)
	}
	if diff := cmp.Diff(first, files()); diff != "" {
		t.Error(diff)
	}
	if err := folder.Write(moved, good); err != nil {
		t.Fatal(err)
	}
	if second := files(); len(second) != 2 {
		t.Errorf("there are %v", second)
	}
	if now, _ := os.ReadFile(folder.Config()); strings.Contains(string(now), "[trust]") {
		t.Errorf("a root that was not granted:\n%s", now)
	}
}

// A device is the same whenever it asks.
func TestClaim(t *testing.T) {
	t.Parallel()
	folder := Folder(t.TempDir())
	first, err1 := folder.Claim()
	again, err2 := folder.Claim()
	if err1 != nil || err2 != nil || first != again || len(first) < 16 {
		t.Errorf("%q, %v, and then %q, %v", first, err1, again, err2)
	}
}

// A clock that was not set does not keep the device away; a certificate that has
// expired does.
func TestClock(t *testing.T) {
	t.Parallel()
	i := backend(t, func(w http.ResponseWriter, _ enrol.Request) { give(w, granted) })
	for years, ok := range map[int]bool{-50: true, 0: true, 200: false} {
		if _, err := askAt(t.Context(), i, time.Now().AddDate(years, 0, 0)); (err == nil) != ok {
			t.Errorf("%d years from now: %v", years, err)
		}
	}
}

func askAt(ctx context.Context, i enrol.Invitation, now time.Time) (enrol.Grant, error) {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: security(i, func() time.Time { return now })}}
	defer client.CloseIdleConnections()
	g, _, err := ask(ctx, client, i.Host, []byte(`{"token":"token"}`))
	return g, err
}
