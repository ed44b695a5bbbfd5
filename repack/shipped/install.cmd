@echo off
rem Install label @LABEL@ from this folder into an environment of its own, without network:
rem     install.cmd [--prefix PREFIX] [--conda CONDA] [--key KEY] [--update] [--uninstall]
rem                 [--no-health-check] [--any-date] [--json]
rem Works from anywhere, from \\server\share too, and needs no PowerShell. repack\install.py does
rem it all; this finds a conda (CONDA_EXE, PATH, the usual folders) and a Python, best conda's own.
rem No delayed expansion, no brackets around paths: ! and ) may be in folder names.
setlocal EnableExtensions DisableDelayedExpansion

set "REPACK_CONDA="
if defined CONDA_EXE if exist "%CONDA_EXE%" set "REPACK_CONDA=%CONDA_EXE%"
for %%N in (conda.exe conda.bat) do if not defined REPACK_CONDA set "REPACK_CONDA=%%~$PATH:N"
for %%D in ("%USERPROFILE%" "%LOCALAPPDATA%" "%ProgramData%" "%SystemDrive%" "%ProgramFiles%") do for %%N in (miniconda3 miniforge3 anaconda3 mambaforge) do if not defined REPACK_CONDA if exist "%%~D\%%N\Scripts\conda.exe" set "REPACK_CONDA=%%~D\%%N\Scripts\conda.exe"
for %%N in (mamba.exe mamba.bat micromamba.exe) do if not defined REPACK_CONDA set "REPACK_CONDA=%%~$PATH:N"

set "REPACK_PYTHON="
if not defined REPACK_CONDA goto path_python
set "CONDA_EXE=%REPACK_CONDA%"
for %%C in ("%REPACK_CONDA%") do for %%P in ("%%~dpC..\python.exe" "%%~dpCpython.exe" "%%~dpC..\..\python.exe") do if not defined REPACK_PYTHON if exist "%%~fP" set "REPACK_PYTHON=%%~fP"

:path_python
if not defined REPACK_PYTHON for %%N in (py.exe python3.exe python.exe) do if not defined REPACK_PYTHON set "REPACK_PYTHON=%%~$PATH:N"
if not defined REPACK_PYTHON goto no_python
"%REPACK_PYTHON%" -I -c "import sys; sys.exit(sys.version_info < (3, 6))" >nul 2>nul
if errorlevel 1 goto no_python

"%REPACK_PYTHON%" -I -B "%~dp0repack\install.py" %*
exit /b %errorlevel%

:no_python
echo error: no Python 3.6 or newer here; found as conda: "%REPACK_CONDA%" 1>&2
echo   hint: install Miniconda or Miniforge first, or say where it is with CONDA_EXE 1>&2
exit /b 3
