#pragma once
// What the user's environment says.

#include <filesystem>
#include <string>
#include <string_view>

namespace tern {

// The value of a variable; empty if it is not set.
std::string environment(const std::string& name);

// The user's home folder: HOME, and where that is not set or no absolute path, the one of the password database (services of
// the system have no HOME). Empty if neither names one: then there is none, and the working folder never takes its place.
std::filesystem::path home_folder();

// Tern's folder within one of the XDG specification: that which `variable` names, else `in_home` in the home folder. A value
// that is no absolute path is ignored, as the specification demands. Empty without a home folder.
std::filesystem::path xdg_folder(const char* variable, const char* in_home);
// What is said where a file must be written there and there is no home folder.
inline constexpr std::string_view kNoHomeFolder =
    "there is no home folder to keep this in: HOME is not set to an absolute path, and the "
    "password database names none. Set HOME.";
// A file in it; empty without a home folder.
std::filesystem::path xdg_file(const char* variable, const char* in_home, std::string_view name);

}  // namespace tern
