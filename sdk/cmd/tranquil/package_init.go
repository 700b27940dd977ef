package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

type initCmd struct {
	Dir  string `arg:"" optional:"" default:"." help:"Directory of the component, made if it is not there."`
	Type string `default:"application" help:"Type of the component: which updater is asked."`
	Name string `help:"Name of the component; default: that of the directory."`
}

// The recipe to begin with. What is left out has a default.
const firstRecipe = `# sdk/pack/README.md has every key.
type    = %q
name    = %q
version = "0.1.0"

[[artifact]]
path = "component"   # a file, or a directory: what is in it arrives on the device
# os      = "linux"  # one [[artifact]] per platform; without these it fits all
# arch    = "arm"
# variant = "v7"

# [state]            # if the component has something to lose
# schema = 1         # its layout; a version that changes that brings [[transform]]s

[settings]           # for the updater of this type
%s`

// settings that updaters of ours want.
var firstSettings = map[string]string{"application": `command = ["./run"]` + "\n"}

func (c *initCmd) Run(s *session) error {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return err
	}
	if c.Name == "" {
		c.Name = strings.ToLower(filepath.Base(dir))
	}
	if err := pack.CheckComponent(c.Type + "/" + c.Name); err != nil {
		return fmt.Errorf("%w: give --type and --name", err)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	path := filepath.Join(dir, pack.RecipeFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s is there already", path)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, firstRecipe, c.Type, c.Name, firstSettings[c.Type])
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "wrote %s\nPut the program into %s, then: tranquil package build %s\n", path, filepath.Join(dir, "component"), c.Dir)
	return err
}
