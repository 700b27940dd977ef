package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"time"
)

type inviteCmd struct {
	ID string `arg:"" help:"Device id, of a device that is created."`
}

// Help is the long text of tranquil device invite --help.
func (*inviteCmd) Help() string {
	return `The command is good for a day and for one device, whoever is first: it has a
secret in it. It can be said on a device that is new, and on one that is to have
its key replaced or comes from another backend: what that has and knows stays.`
}

func (c *inviteCmd) Run(s *session) error {
	l, err := readLogin()
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("invitations are in somebody's name: tranquil login first")
	}
	if err != nil {
		return err
	}
	var invited struct {
		Device  string    `json:"device"`
		Address string    `json:"address"`
		Command string    `json:"command"`
		Expires time.Time `json:"expires"`
	}
	if err := l.call(s, http.MethodPost, "/devices/"+url.PathEscape(c.ID)+"/invitation", nil, &invited); err != nil {
		return fmt.Errorf("cannot invite %s: %w", c.ID, err)
	}
	if s.JSON {
		return s.printJSON(invited)
	}
	fmt.Fprintln(s.out, invited.Command)
	fmt.Fprintf(s.err, "Say this on the device, before %s.\n", moment(invited.Expires))
	return nil
}
