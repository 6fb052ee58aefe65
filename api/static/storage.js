// What a browser keeps: for good, or until its tab is closed. Where it keeps nothing, because it was
// told so, everything works as if it were new.

function over(open) {
  return {
    read(name) {
      try {
        return open().getItem(name);
      } catch {
        return null;
      }
    },
    write(name, value) {
      try {
        if (value === null) open().removeItem(name);
        else open().setItem(name, value);
      } catch {
        // it holds until the page is left
      }
    },
  };
}

export const kept = over(() => localStorage);
export const tab = over(() => sessionStorage);
