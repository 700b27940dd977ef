package main

import (
	"errors"
	"time"
)

type tokenCmd struct {
	For time.Duration `default:"1h" help:"How long it is good for."`
}

// Run prints the value of an Authorization header.
func (c *tokenCmd) Run(s *session) error {
	if c.For <= 0 {
		return errors.New("a token must be good for some time: --for 1h")
	}
	hub, err := s.hub()
	if err != nil {
		return err
	}
	if hub.Token != "" {
		return s.tell(map[string]string{"token": "Bearer " + hub.Token}, "Bearer %s\n", hub.Token)
	}
	token, err := hub.ConnectionString.ServiceToken(time.Now().Add(c.For))
	if err != nil {
		return err
	}
	return s.tell(map[string]string{"token": token}, "%s\n", token)
}
