// Package accounts keeps what a device knows of its LwM2M server if it was not told
// by its configuration but by a bootstrap server (OMA LwM2M 1.1 section 6.1).
package accounts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/durable"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// A Keeper gets an account from a bootstrap server, and keeps it in a file that only
// the owner can read: it has the device's key.
type Keeper struct {
	File     string
	Endpoint string // of the device
	Server   string // address of the bootstrap server
	Dial     func() (lwm2m.Transport, error)
	Timeout  time.Duration // between two requests of the bootstrap server; 0: 247 s
	Log      *slog.Logger
}

// How long to wait before the bootstrap server is asked again: from the first to
// the last, doubling, each times a random 0.5 to 1.5.
const (
	firstPause = time.Second
	lastPause  = 10 * time.Minute
)

// Run has the device register with its server until ctx ends. register returns when
// ctx has ended, or the device gives the server up: then the bootstrap server is
// asked once for another account, and without one the old has to do.
func (k Keeper) Run(ctx context.Context, register func(context.Context, lwm2m.Account) error) error {
	account, err := k.Load()
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			k.Log.Error("the account is lost, asking for another one", "error", err)
		}
		account, err = k.insist(ctx)
	}
	for pause := firstPause; err == nil && ctx.Err() == nil; pause = min(2*pause, lastPause) {
		begun := time.Now()
		given := register(ctx, account)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(begun) > lastPause {
			pause = firstPause
		}
		k.Log.Warn("the server is given up, asking for another one", "server", account.URI, "bootstrap", k.Server, "error", given)
		if another, refused := k.ask(ctx); refused == nil {
			account = another
		} else {
			k.Log.Warn("there is no other server", "error", refused)
		}
		wait(ctx, pause) // also for another account, which may be no better
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// insist asks until there is an account, or ctx ends.
func (k Keeper) insist(ctx context.Context) (lwm2m.Account, error) {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		account, err := k.ask(ctx)
		if err == nil || ctx.Err() != nil {
			return account, err
		}
		k.Log.Warn("this device has no server yet, asking again", "bootstrap", k.Server, "error", err)
		wait(ctx, pause)
	}
}

func wait(ctx context.Context, pause time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(float64(pause) * (0.5 + rand.Float64()))):
	}
}

// ask gets an account and keeps it.
func (k Keeper) ask(ctx context.Context) (lwm2m.Account, error) {
	transport, err := k.Dial()
	if err != nil {
		return lwm2m.Account{}, err
	}
	defer transport.Close()
	records, err := lwm2m.Bootstrap(ctx, transport, lwm2m.BootstrapConfig{Endpoint: k.Endpoint, Server: k.Server, Timeout: k.Timeout})
	if err != nil {
		return lwm2m.Account{}, err
	}
	account, err := choose(records)
	if err != nil {
		return account, err
	}
	text, err := lwm2m.Encode(lwm2m.FormatSenMLJSON, lwm2m.Path{}, records)
	if err == nil {
		err = durable.WriteFile(k.File, text, 0o600)
	}
	if err != nil {
		return account, fmt.Errorf("cannot keep the account: %w", err)
	}
	k.Log.Info("the bootstrap server has given an account", "server", account.URI, "bootstrap", k.Server)
	return account, nil
}

// Load reads what was kept.
func (k Keeper) Load() (lwm2m.Account, error) {
	text, err := os.ReadFile(k.File)
	if err != nil {
		return lwm2m.Account{}, fmt.Errorf("cannot read the account: %w", err)
	}
	model := lwm2m.NewModel(lwm2m.SecurityDefinition, lwm2m.ServerDefinition, lwm2m.AccessControlDefinition)
	records, err := lwm2m.Decode(lwm2m.FormatSenMLJSON, lwm2m.Path{}, text, model)
	if err != nil {
		return lwm2m.Account{}, fmt.Errorf("%s is damaged: %w", k.File, err)
	}
	return choose(records)
}

// choose takes the first account of a management server.
func choose(records []lwm2m.Record) (lwm2m.Account, error) {
	all, err := lwm2m.ParseAccounts(records)
	if err != nil {
		return lwm2m.Account{}, err
	}
	i := slices.IndexFunc(all, func(a lwm2m.Account) bool { return !a.Bootstrap })
	if i < 0 {
		return lwm2m.Account{}, errors.New("there is no account of a management server")
	}
	return all[i], nil
}
