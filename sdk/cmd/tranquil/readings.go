package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"
)

type readingsCmd struct {
	ID      string   `arg:"" help:"Device id."`
	Instead uint16   `placeholder:"OBJECT" help:"List what other devices measure live by this IPSO object, such as 3303, instead."`
	Tag     []string `placeholder:"TAG" help:"With --instead: tags that they must have in common with the device, such as site,hall."`
}

// Help is the long text of tranquil readings --help.
func (*readingsCmd) Help() string {
	return `A reading is live, stale (its component is being updated: until when, and whether
that is late), or of a device that is offline. While it is masked, --instead says
who measures the same. It needs a login: tranquil login.`
}

// A reading is one as the operator's API has it.
type reading struct {
	Device    string    `json:"device"`
	Path      string    `json:"path"`
	Value     any       `json:"value"`
	Unit      string    `json:"unit,omitempty"`
	At        time.Time `json:"at,omitzero"`
	Component string    `json:"component,omitempty"`
	Masking   struct {
		State string     `json:"state"`
		Since *time.Time `json:"since,omitempty"`
		Until *time.Time `json:"until,omitempty"`
		Late  bool       `json:"late,omitempty"`
	} `json:"masking"`
}

func (c *readingsCmd) Run(s *session) error {
	l, err := readLogin()
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("readings are for people who have logged in: tranquil login")
	}
	if err != nil {
		return err
	}
	path := "/devices/" + url.PathEscape(c.ID) + "/readings"
	if c.Instead != 0 {
		path = fmt.Sprintf("/devices/%s/substitutes?object=%d&tag=%s", url.PathEscape(c.ID), c.Instead, url.QueryEscape(strings.Join(c.Tag, ",")))
	}
	var got struct {
		Readings []reading `json:"readings"`
	}
	if err := l.call(s, http.MethodGet, path, nil, &got); err != nil {
		return err
	}
	if s.JSON {
		return s.printJSON(got.Readings)
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DEVICE\tPATH\tVALUE\tWORTH\tCOMPONENT")
	for _, r := range got.Readings {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.Device, r.Path, oneLine(fmt.Sprint(r.Value, " ", r.Unit)), r.worth(), oneLine(r.Component))
	}
	return w.Flush()
}

// worth is as in "stale until 08:00:04, late".
func (r reading) worth() string {
	text := r.Masking.State
	switch m := r.Masking; {
	case m.Until != nil:
		text += " until " + moment(*m.Until)
	case m.Since != nil:
		text += " since " + moment(*m.Since)
	}
	if r.Masking.Late {
		text += ", late"
	}
	return text
}
