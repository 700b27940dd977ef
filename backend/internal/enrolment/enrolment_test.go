package enrolment

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/enrol"
)

// records are those of a store, with what happens before somebody writes.
type records struct {
	texts  map[string][]byte
	before func()
}

func (r *records) Get(_ context.Context, id string) ([]byte, uint64, error) {
	text, there := r.texts[id]
	if !there {
		return nil, 0, fs.ErrNotExist
	}
	return text, uint64(len(text)), nil
}

func (r *records) Put(_ context.Context, id string, text []byte, revision uint64) error {
	if r.before != nil {
		r.before()
	}
	if len(r.texts[id]) != int(revision) {
		return fs.ErrExist
	}
	r.texts[id] = text
	return nil
}

type ledger struct{ did []string }

func (l *ledger) Change(_ context.Context, action, object string, _ any, do func() error) error {
	l.did = append(l.did, action+" "+object)
	return do()
}

func desk() (*Desk, *records, *ledger) {
	r, l := &records{texts: map[string][]byte{}}, &ledger{}
	return &Desk{
		Invitations: r, Ledger: l, Authority: make([]byte, 32),
		Key: func(_ context.Context, device string) (string, error) {
			if device != "d" {
				return "", twin.DeviceNotFound
			}
			return "AAAAAAAAAAAAAAAAAAAAAA==", nil
		},
		Own: func(host string) bool { return host != "evil.example.org" },
		Places: func(host string) (string, string, error) {
			return "coaps://" + host + ":5684", "coaps://" + host + ":5685", nil
		},
		Root: func() ([]byte, error) { return []byte(`{}`), nil },
	}, r, l
}

// An invitation is for the device that comes first, which may ask again.
func TestTake(t *testing.T) {
	d, r, l := desk()
	invited, err := d.Invite(t.Context(), "d", "hub.example.org:9443")
	if err != nil {
		t.Fatal(err)
	}
	i, err := enrol.Parse(invited.Address)
	if err != nil || invited.Command != "tranquil-agent enrol "+invited.Address {
		t.Fatal(err, invited)
	}
	for id, text := range r.texts {
		if strings.Contains(id+string(text), i.Token) {
			t.Errorf("the token is kept: %s %s", id, text)
		}
	}
	first := enrol.Request{Token: i.Token, Claim: "the first device's claim"}
	want := enrol.Grant{Device: "d", Server: "coaps://hub.example.org:5684", Key: make([]byte, 16), Files: "coaps://hub.example.org:5685", Root: []byte(`{}`)}
	for range 2 {
		got, err := d.Take(t.Context(), first)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Error(err, diff)
		}
	}
	if diff := cmp.Diff([]string{"device.invite d", "device.enrol d"}, l.did); diff != "" {
		t.Error(diff)
	}
	for _, refused := range []enrol.Request{
		{Token: i.Token, Claim: "another device's claim"}, {Token: i.Token, Claim: "short"}, {Token: i.Token + "X", Claim: first.Claim}, {Claim: first.Claim}, {},
	} {
		if _, err := d.Take(t.Context(), refused); !errors.Is(err, twin.Unauthorized) {
			t.Errorf("%+v: %v", refused, err)
		}
	}
	if _, err := d.Invite(t.Context(), "other", "h:1"); !errors.Is(err, twin.DeviceNotFound) {
		t.Error(err)
	}
}

// Of two devices that come at once one is refused; and whoever comes too late.
func TestTakeAtOnceAndLate(t *testing.T) {
	d, r, _ := desk()
	invited, err := d.Invite(t.Context(), "d", "hub.example.org:9443")
	if err != nil {
		t.Fatal(err)
	}
	i, _ := enrol.Parse(invited.Address)
	r.before = func() {
		r.before = nil
		if _, err := d.Take(t.Context(), enrol.Request{Token: i.Token, Claim: "the faster device's"}); err != nil {
			t.Error(err)
		}
	}
	if _, err := d.Take(t.Context(), enrol.Request{Token: i.Token, Claim: "the slower device's"}); !errors.Is(err, twin.Unauthorized) {
		t.Error(err)
	}
	for id, text := range r.texts {
		var kept invitation
		if err := json.Unmarshal(text, &kept); err != nil {
			t.Fatal(err)
		}
		kept.Expires = time.Now().Add(-time.Second)
		r.texts[id], _ = json.Marshal(kept)
	}
	if _, err := d.Take(t.Context(), enrol.Request{Token: i.Token, Claim: "the faster device's"}); !errors.Is(err, twin.Unauthorized) {
		t.Error(err)
	}
}
