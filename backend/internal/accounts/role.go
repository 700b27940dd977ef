package accounts

import (
	"encoding/json"
	"strings"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// A Right is a set of things that one may do.
type Right uint8

// What one may do.
const (
	Read       Right = 1 << iota // see devices, twins, packages, events
	Operate                      // add and remove devices, see their keys, update and call them
	Publish                      // upload and delete packages
	Administer                   // manage users, see the audit log
)

// A Role is the rights of a user, by name.
type Role string

// Roles.
const (
	Viewer    Role = "viewer"
	Operator  Role = "operator"
	Publisher Role = "publisher"
	Admin     Role = "admin"
)

// Roles are all roles, and what each may do.
var Roles = []struct {
	Role   Role
	Rights Right
	May    string
}{
	{Viewer, Read, "look"},
	{Operator, Read | Operate, "look, and manage and update devices"},
	{Publisher, Read | Publish, "look, and upload and delete packages"},
	{Admin, Read | Operate | Publish | Administer, "everything, and manage users"},
}

// Rights are what the role may do; none if there is no such role.
func (r Role) Rights() Right {
	for _, known := range Roles {
		if known.Role == r {
			return known.Rights
		}
	}
	return 0
}

var rightNames = []string{"read", "operate", "publish", "administer"}

// Names are the words of a set of rights.
func (r Right) Names() (names []string) {
	for i, name := range rightNames {
		if r&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// String lists the words.
func (r Right) String() string { return strings.Join(r.Names(), " ") }

// MarshalJSON writes a list of words.
func (r Right) MarshalJSON() ([]byte, error) {
	return json.Marshal(append([]string{}, r.Names()...))
}

// UnmarshalJSON reads a list of words.
func (r *Right) UnmarshalJSON(text []byte) (err error) {
	var names []string
	if err := json.Unmarshal(text, &names); err != nil {
		return err
	}
	*r, err = ParseRights(names)
	return err
}

// ParseRights reads the words of a set of rights.
func ParseRights(names []string) (r Right, err error) {
	for _, name := range names {
		right := Right(0)
		for i, known := range rightNames {
			if known == name {
				right = 1 << i
			}
		}
		if right == 0 {
			return 0, twin.ArgumentInvalid.With("there is no right %.40q, only %s", name, strings.Join(rightNames, ", "))
		}
		r |= right
	}
	return r, nil
}
